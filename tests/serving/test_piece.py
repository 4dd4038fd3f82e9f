import asyncio

from decoding.logprobs import TokenLogprob
from decoding.request import Origin, SpeculationCounts
from serving.dispatch import Ticket
from serving.generation import Generation
from serving.piece import Piece
from serving.text import TextCodec
from serving.wire import Output, Routing, StepMessage
from tests.serving.test_wire import STATUS

LOOKUP = Routing(None, "lookup", None, "undecided")
SQL = Routing("sql", "sql@v1", 0.97, "topic")


def output(token_ids: list[int], drafted: int, last: Origin, refused: int | None = None, end: bool = False) -> Output:
    counts = SpeculationCounts(drafted, drafted, drafted)  # as many runs as tokens were drafted so far, for short
    origins = [*[Origin.DRAFT] * (len(token_ids) - 1), last]
    logprobs = [TokenLogprob(-0.5)] * len(token_ids)
    return Output("r", token_ids, origins, "length" if end else None, counts, logprobs, refused)


def pieces(codec: TextCodec, *told: tuple[Routing, Output]) -> list[Piece]:
    async def run() -> list[Piece]:
        ticket = Ticket("r", 0)
        generation = Generation(ticket, codec, [5], ())
        reader, found = generation.pieces(), []
        for routing, each in told:
            ticket.routing = routing
            ticket.inbox.put_nowait(each)
            found += await anext(reader)
        return found

    return asyncio.run(run())


def test_a_piece_tells_what_was_proposed_and_what_was_refused(codec: TextCodec) -> None:
    """The refused token by its text; none where the target's own stands for another reason."""
    [one], [two] = codec.encode("e"), codec.encode("x")
    told = [
        (SQL, output([one, one], 4, Origin.CORRECTED, refused=two)),
        (SQL, output([one], 4, Origin.PLAIN)),
        (SQL, output([one, one], 7, Origin.DRAFT, refused=two, end=True)),  # cut before the target's own
    ]
    first, second, third = [piece.document() for piece in pieces(codec, *told)]
    assert (first["drafted"], first["refused"]) == (4, {"id": two, "text": "x"})
    assert (second["drafted"], third["drafted"]) == (0, 3)
    assert "refused" not in second
    assert "refused" not in third


def test_routing_is_told_when_it_is_news(codec: TextCodec) -> None:
    """With the first tokens, and when the router has decided."""
    [one] = codec.encode("e")
    told = [(LOOKUP, output([one], 1, Origin.PLAIN)), (LOOKUP, output([one], 1, Origin.PLAIN))]
    told.append((SQL, output([one], 2, Origin.PLAIN, end=True)))
    documents = [piece.document() for piece in pieces(codec, *told)]
    assert documents[0]["routing"] == {"topic": None, "draft": "lookup", "confidence": None, "reason": "undecided"}
    assert "routing" not in documents[1]
    assert documents[2]["routing"]["draft"] == "sql@v1"


def test_a_refused_token_survives_the_trip_between_the_processes() -> None:
    """And so does that there was none."""
    outputs = [output([1, 2], 4, Origin.CORRECTED, refused=9), output([1], 4, Origin.BONUS)]
    assert StepMessage.from_json(StepMessage(STATUS, outputs).to_json()).outputs == outputs
