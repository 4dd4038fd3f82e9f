import asyncio
import json
from typing import Any

import pytest

from decoding.logprobs import TokenLogprob
from decoding.request import Origin, SpeculationCounts
from serving.answering import stream, whole
from serving.dispatch import Ticket
from serving.generation import Generation
from serving.piece import Piece, Token
from serving.reply import Kind, Reply
from serving.text import TextCodec
from serving.wire import Output, Routing


def answers(codec: TextCodec, *texts: str, logprobs: bool = False) -> list[Generation]:
    """Answers whose tokens have all arrived, two a target run."""
    made = []
    for text in texts:
        ticket = Ticket("r", 0)
        ticket.routing = Routing("sql", "sql@v1", 0.9, "topic")
        token_ids = codec.encode(text)
        for run, start in enumerate(range(0, len(token_ids), 2), start=1):
            part = token_ids[start : start + 2]
            counts = SpeculationCounts(run, run, 4 * run, run, 2 * run, [run, run][: len(part)], start + len(part))
            said = [TokenLogprob(-0.5, ((part[0], -0.5), (7, -1.5)))] * len(part) if logprobs else []
            reason = "length" if start + 2 >= len(token_ids) else None
            ticket.inbox.put_nowait(Output("r", part, [Origin.DRAFT] * len(part), reason, counts, said))
        made.append(Generation(ticket, codec, [5], ()))
    return made


def body(kind: Kind, generations: list[Generation], **shows: bool) -> dict[str, Any]:
    return asyncio.run(whole(Reply(kind, "id", "toy", 3, **shows), generations))


def chunks(kind: Kind, generations: list[Generation], **shows: bool) -> list[dict[str, Any]]:
    async def run() -> list[bytes]:
        return [each async for each in stream(Reply(kind, "id", "toy", 3, **shows), generations, wants_usage=True)]

    *events, done = asyncio.run(run())
    assert done == b"data: [DONE]\n\n"
    return [json.loads(each.removeprefix(b"data: ")) for each in b"".join(events).split(b"\n\n")[:-1]]


class TestChoices:
    @pytest.mark.parametrize("kind", ["chat", "text"])
    def test_each_answer_has_its_index_streamed_and_not(self, codec: TextCodec, kind: Kind) -> None:
        """The pieces of an index concatenate to its answer; each ends with its own reason."""
        texts = ("one the", "in", "a")
        document = body(kind, answers(codec, *texts))
        shown = [choice["message"]["content"] if kind == "chat" else choice["text"] for choice in document["choices"]]
        assert shown == list(texts)
        assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
        streamed: dict[int, str] = {}
        reasons = []
        for choice in (choice for chunk in chunks(kind, answers(codec, *texts)) for choice in chunk["choices"]):
            text = choice["delta"].get("content", "") if kind == "chat" else choice["text"]
            streamed[choice["index"]] = streamed.get(choice["index"], "") + text
            if choice["finish_reason"]:
                reasons.append(choice["index"])
        assert streamed == dict(enumerate(texts))
        assert sorted(reasons) == [0, 1, 2]

    def test_text_arrives_as_it_is(self, codec: TextCodec) -> None:
        """Quotes, line ends, other scripts, and a name of a model that JSON escapes."""
        texts = ('say "no"\n\\ ', "é 😀 \u2028 data: [DONE]")
        pieces = [Piece(1, [Token(1, text, Origin.DRAFT)]) for text in texts]
        reply = Reply("chat", "id", 'a "model"', 3)
        for piece, text in zip(pieces, texts, strict=True):
            for index in (0, 1):
                sent = reply.event(index, piece)
                assert sent is not None
                assert sent.endswith(b"\n\n")
                document = json.loads(sent.removeprefix(b"data: "))
                assert document["model"] == 'a "model"'
                choice = {"index": index, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
                assert document["choices"] == [choice]
        assert reply.event(0, Piece(1, [Token(1, "", Origin.DRAFT)])) is None

    def test_usage_counts_the_prompt_once_and_all_answers(self, codec: TextCodec) -> None:
        """As OpenAI bills it."""
        texts = ("one the", "in")
        out = sum(len(codec.encode(text)) for text in texts)
        expected = {"prompt_tokens": 3, "completion_tokens": out, "total_tokens": 3 + out}
        assert body("chat", answers(codec, *texts))["usage"] == expected
        assert chunks("chat", answers(codec, *texts))[-1]["usage"] == expected

    def test_figures_are_summed_before_they_are_divided(self, codec: TextCodec) -> None:
        """Each answer has its own report too; one answer alone has just the one."""
        document = body("chat", answers(codec, "one the", "in"), shows_tokens=True)
        parts = [choice["polydraft"] for choice in document["choices"]]
        for name in ("num_target_runs", "num_accepted_tokens", "num_draft_tokens", "num_copied_tokens"):
            assert document["polydraft"][name] == sum(part[name] for part in parts)
        assert document["polydraft"]["num_copied_tokens"] > 0
        assert document["polydraft"]["draft"] == "sql@v1"
        assert document["polydraft"]["draft_acceptance_rate"] == 0.5
        assert all(part["tokens"] for part in parts)
        alone = body("chat", answers(codec, "one the"))
        assert "polydraft" not in alone["choices"][0]
        assert alone["polydraft"] == {key: value for key, value in parts[0].items() if key != "tokens"}


class TestLogprobs:
    def test_chat_has_an_entry_a_token_streamed_and_not(self, codec: TextCodec) -> None:
        """Token, log-probability, bytes and the alternatives, of which each has the same three."""
        text = "a é"
        content = body("chat", answers(codec, text, logprobs=True), shows_logprobs=True)["choices"][0]["logprobs"]
        assert b"".join(bytes(entry["bytes"]) for entry in content["content"]) == text.encode()
        assert {entry["logprob"] for entry in content["content"]} == {-0.5}
        assert [set(top) for top in content["content"][0]["top_logprobs"]] == [{"token", "logprob", "bytes"}] * 2
        streamed = [
            entry
            for chunk in chunks("chat", answers(codec, text, logprobs=True), shows_logprobs=True)
            for choice in chunk["choices"]
            for entry in (choice["logprobs"] or {"content": []})["content"]
        ]
        assert streamed == content["content"]

    def test_a_piece_without_text_still_tells_its_tokens(self, codec: TextCodec) -> None:
        """Half a character has a log-probability too."""
        first, second = codec.encode("é")
        ticket = Ticket("r", 0)
        for token_id, reason in ((first, None), (second, "length")):
            said = [TokenLogprob(-1.0)]
            ticket.inbox.put_nowait(Output("r", [token_id], [Origin.PLAIN], reason, SpeculationCounts(1), said))
        told = chunks("text", [Generation(ticket, codec, [5], ())], shows_logprobs=True)
        assert [chunk["choices"][0]["logprobs"]["token_logprobs"] for chunk in told[:2]] == [[-1.0], [-1.0]]
        assert [chunk["choices"][0]["text"] for chunk in told[:2]] == ["", "é"]

    def test_plain_completions_have_openais_older_shape(self, codec: TextCodec) -> None:
        """Parallel lists; the alternatives of a place include the token that stands there."""
        generation = answers(codec, "ab", logprobs=True)
        logprobs = body("text", generation, shows_logprobs=True)["choices"][0]["logprobs"]
        assert logprobs["tokens"] == ["a", "b"]
        assert logprobs["token_logprobs"] == [-0.5, -0.5]
        assert logprobs["text_offset"] == [0, 1]
        assert [len(each) for each in logprobs["top_logprobs"]] == [2, 3]
        assert logprobs["top_logprobs"][1]["b"] == -0.5

    def test_nobody_who_did_not_ask_gets_any(self, codec: TextCodec) -> None:
        """The field is there and null, as OpenAI has it."""
        assert body("chat", answers(codec, "ab"))["choices"][0]["logprobs"] is None


class TestLossy:
    def test_a_reply_repeats_that_it_may_differ_from_the_target(self, codec: TextCodec) -> None:
        """Whole and streamed, one answer and several; exact replies do not speak of it."""
        assert body("chat", answers(codec, "one"), is_lossy=True)["polydraft"]["lossy"] is True
        several = body("text", answers(codec, "one", "in"), is_lossy=True)
        assert [each["polydraft"]["lossy"] for each in (several, *several["choices"])] == [True, True, True]
        told = [
            chunk["polydraft"] for chunk in chunks("chat", answers(codec, "one"), is_lossy=True) if "polydraft" in chunk
        ]
        assert told[-1]["lossy"] is True
        assert "lossy" not in body("chat", answers(codec, "one"))["polydraft"]
