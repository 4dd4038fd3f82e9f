import asyncio

import pytest

from configs.errors import ServerError
from decoding.request import FinishReason, Origin, SpeculationCounts
from serving.dispatch import Ticket
from serving.generation import Generation, Piece
from serving.text import TextCodec
from serving.wire import Output, Routing


def output(token_ids: list[int], run: int, finish_reason: str | None = None, by: Origin = Origin.DRAFT) -> Output:
    return Output("r", token_ids, [by] * len(token_ids), finish_reason, SpeculationCounts(run, run, 4 * run, run))


def read(generation: Generation, *outputs: Output | ServerError) -> list[Piece]:
    async def run() -> list[Piece]:
        for each in outputs:
            generation.ticket.inbox.put_nowait(each)
        return [piece async for piece in generation.pieces()]

    return asyncio.run(run())


def generation(codec: TextCodec, *stops: str) -> Generation:
    return Generation(Ticket("r"), codec, codec.encode("a"), stops)


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
