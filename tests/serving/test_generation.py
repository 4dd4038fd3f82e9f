import asyncio
from dataclasses import replace

import pytest

from configs.errors import ServerError
from decoding.logprobs import TokenLogprob
from decoding.request import FinishReason, Origin, SpeculationCounts
from serving.dispatch import Ticket
from serving.generation import Generation, merged
from serving.piece import Piece
from serving.text import TextCodec
from serving.wire import Output, Routing


def output(token_ids: list[int], run: int, finish_reason: str | None = None, by: Origin = Origin.DRAFT) -> Output:
    counts = SpeculationCounts(run, run, num_draft_tokens=4 * run, num_accepted_tokens=run)
    return Output("r", token_ids, [by] * len(token_ids), finish_reason, counts)


def read(generation: Generation, *outputs: Output | ServerError) -> list[Piece]:
    async def run() -> list[Piece]:
        for each in outputs:
            generation.ticket.inbox.put_nowait(each)
        return [piece async for some in generation.pieces() for piece in some]

    return asyncio.run(run())


def generation(codec: TextCodec, *stops: str) -> Generation:
    return Generation(Ticket("r", 0), codec, codec.encode("a"), stops)


class TestGeneration:
    def test_the_end_token_ends_the_text_and_is_not_shown(self, codec: TextCodec) -> None:
        """It counts as a token all the same."""
        answer = generation(codec)
        pieces = read(answer, output(codec.encode("on"), 1), output([*codec.encode("er"), 0], 2, "stop"))
        assert "".join(piece.text for piece in pieces) == "oner"
        assert (answer.finish_reason, answer.num_tokens) == (FinishReason.STOP, 3)

    def test_a_stop_string_across_runs_ends_the_answer(self, codec: TextCodec) -> None:
        """Tokens behind it are neither shown nor counted, and the worker's own end does not matter."""
        answer = generation(codec, "xy")
        x, y, z = (codec.encode(letter)[0] for letter in "xyz")
        pieces = read(answer, output([z, x], 1), output([y, z, z], 2, "length"))
        assert [[token.text for token in piece.tokens] for piece in pieces] == [["z", ""], [""]]
        assert (answer.finish_reason, answer.num_tokens) == (FinishReason.STOP, 3)
        assert not answer.ticket.is_over

    def test_what_is_held_back_appears_with_the_last_token(self, codec: TextCodec) -> None:
        """The texts of the tokens concatenate to the reply."""
        answer = generation(codec, "xyz")
        pieces = read(answer, output(codec.encode("ax"), 1), output(codec.encode("y"), 2, "length"))
        assert [token.text for piece in pieces for token in piece.tokens] == ["a", "", "xy"]
        assert answer.finish_reason is FinishReason.LENGTH

    def test_a_stop_string_in_the_last_flush_counts_as_stop(self, codec: TextCodec) -> None:
        """Even when the length ran out at the same token."""
        answer = generation(codec, "z")
        read(answer, output(codec.encode("az"), 1, "length"))
        assert answer.finish_reason is FinishReason.STOP

    def test_a_failure_ends_the_answer_as_an_exception(self, codec: TextCodec) -> None:
        """What came before it has been shown."""
        with pytest.raises(ServerError, match="broken"):
            read(generation(codec), output(codec.encode("a"), 1), ServerError("broken"))

    def test_the_report_says_who_drafted_and_what_came_of_it(self, codec: TextCodec) -> None:
        """Counts and figures under their usual names."""
        answer = generation(codec)
        answer.ticket.routing = Routing("sql", "sql@v1", 0.9, "topic")
        read(answer, output(codec.encode("ab"), 1), output(codec.encode("c"), 2, "length", by=Origin.PLAIN))
        report = answer.report()
        assert (report["draft"], report["topic"], report["num_target_runs"]) == ("sql@v1", "sql", 2)
        assert report["mean_acceptance_length"] == 2.0
        assert report["draft_acceptance_rate"] == 0.25
        assert report["origins"] == {"draft": 2, "plain": 1}

    def test_log_probabilities_have_the_place_of_their_token(self, codec: TextCodec) -> None:
        """In characters of the shown text, across pieces; the end token is not shown and has none."""
        answer = generation(codec)
        said = [replace(output(codec.encode("aé"), 1), logprobs=[TokenLogprob(-n) for n in range(3)])]
        said.append(replace(output([*codec.encode("b"), 0], 2, "stop"), logprobs=[TokenLogprob(-3), TokenLogprob(-4)]))
        places = [place for piece in read(answer, *said) for place in piece.logprobs()]
        assert [(at, named.token, named.logprob) for at, named in places] == [
            (0, b"a", 0),
            (1, b"\xc3", -1),
            (1, b"\xa9", -2),
            (2, b"b", -3),
        ]

    def test_what_has_come_by_now_comes_together(self, codec: TextCodec) -> None:
        """And what failed after it is not lost on the way."""
        answer = generation(codec)

        async def run() -> list[str]:
            for each in (output(codec.encode("a"), 1), output(codec.encode("b"), 2), ServerError("broken")):
                answer.ticket.inbox.put_nowait(each)
            reader = answer.pieces()
            first = await anext(reader)
            with pytest.raises(ServerError, match="broken"):
                await anext(reader)
            return [piece.text for piece in first]

        assert asyncio.run(run()) == ["a", "b"]


class TestMerged:
    def test_pieces_of_several_answers_come_as_they_are_ready(self, codec: TextCodec) -> None:
        """In each answer's own order; its end is told once."""
        answers = [generation(codec), generation(codec)]

        async def run() -> list[tuple[int, str | None]]:
            for index, word in ((1, "x"), (0, "a"), (1, "y"), (0, "b")):
                answers[index].ticket.inbox.put_nowait(output(codec.encode(word), 1, "length" if word > "x" else None))
            found: list[tuple[int, str | None]] = []
            async for index, pieces in merged(answers):
                found += [(index, piece.text) for piece in pieces] if pieces else [(index, None)]
                if found[-1] == (1, None):  # only now does the other go on
                    answers[0].ticket.inbox.put_nowait(output(codec.encode("c"), 2, "length"))
            return found

        found = asyncio.run(run())
        assert [text for index, text in found if index == 0] == ["a", "b", "c", None]
        assert [text for index, text in found if index == 1] == ["x", "y", None]
        assert found[-1] == (0, None)

    def test_the_failure_of_one_ends_all(self, codec: TextCodec) -> None:
        """The reader of the others is not left behind."""
        answers = [generation(codec), generation(codec)]

        async def run() -> None:
            answers[1].ticket.inbox.put_nowait(ServerError("broken"))
            async for _ in merged(answers):
                pass

        with pytest.raises(ServerError, match="broken"):
            asyncio.run(run())
