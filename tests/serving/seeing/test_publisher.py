"""Entries reach a writer, or are dropped and counted; nobody waits for it."""

import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe

import pytest

from configs.errors import RegistryError
from registry.traces import TraceRecord
from serving.seeing.entry import Entry
from serving.seeing.outbox import Outbox
from serving.seeing.publication import text_of
from serving.seeing.publisher import Counts, Publisher
from serving.text import TextCodec
from serving.traces import TracesSection


def entry(name: str = "a", **fields: object) -> Entry:
    return Entry(name, 0.0, 1.0, 3, **fields)  # type: ignore[arg-type]


class Store:
    """A registry that can be gone."""

    def __init__(self) -> None:
        self.traces: list[TraceRecord] = []
        self.is_gone = False
        self.opened = 0
        self.removed: list[float] = []

    def open(self) -> "Store":
        self.opened += 1
        if self.is_gone:
            raise RegistryError("no registry answers")
        return self

    def write(self, traces: Sequence[TraceRecord]) -> None:
        if self.is_gone:
            raise RegistryError("no registry answers")
        self.traces += traces

    def remove_before(self, at: float) -> int:
        self.removed.append(at)
        return 0


class Office:
    """A publisher with a pipe, a store and a clock in hand."""

    def __init__(self, text: Callable[..., tuple[str, str] | None] = lambda *_: None, keep_seconds: float = 60.0):
        self.now = 0.0
        self.store, self.counts = Store(), Counts()
        entries, self.to_main = Pipe(duplex=False)
        self.publisher = Publisher(
            entries, self.store.open, "toy", text, keep_seconds, self.counts, clock=lambda: self.now
        )

    @property
    def counted(self) -> tuple[int, int]:
        return self.counts.written, self.counts.dropped


def test_what_is_sent_is_written_before_the_end() -> None:
    """Through the outbox, the pipe and both threads."""
    office = Office()
    outbox = Outbox(office.to_main)
    office.publisher._clock = time.monotonic  # type: ignore[method-assign]
    for number in range(100):
        outbox.put(entry(f"{number}"))
    office.publisher.start()
    outbox.close()
    office.publisher.close()
    assert [trace.request_id for trace in office.store.traces] == [f"{number}" for number in range(100)]
    assert (office.counted, outbox.dropped) == ((100, 0), 0)


def test_an_outbox_that_nobody_reads_drops_and_never_waits() -> None:
    """Once pipe and queue are full; 20,000 entries take 2 MB and more."""
    entries, to_main = Pipe(duplex=False)
    outbox = Outbox(to_main, length=16)
    began = time.monotonic()
    for number in range(20_000):
        outbox.put(entry(f"{number}"))
    assert time.monotonic() - began < 5
    assert 0 < 20_000 - outbox.dropped < 10_000
    entries.close()


def test_a_registry_that_is_gone_is_said_once_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    """What comes meanwhile is dropped without asking it."""
    office = Office()
    office.store.is_gone = True
    for _ in range(3):
        office.publisher.publish([entry(), entry()])
    assert (office.counted, office.store.opened) == ((0, 6), 1)
    office.now += 20
    office.publisher.publish([entry()])
    assert (office.counted, office.store.opened) == ((0, 7), 2)
    assert len([record for record in caplog.records if "dropped" in record.message]) == 1
    office.now, office.store.is_gone = office.now + 20, False
    office.publisher.publish([entry()])
    assert office.counted == (1, 7)
    office.store.is_gone = True
    office.publisher.publish([entry()])
    assert office.counted == (1, 8)
    assert len([record for record in caplog.records if "dropped" in record.message]) == 2


def test_old_traces_leave_now_and_then() -> None:
    """At the first writing, and an hour later."""
    office = Office(keep_seconds=86_400)
    for seconds in (0, 10, 3600, 10):
        office.now += seconds
        office.publisher.publish([entry()])
    assert len(office.store.removed) == 2
    assert abs(office.store.removed[0] - (time.time() - 86_400)) < 60


def test_text_is_what_was_noted_unless_a_pattern_withholds_it(codec: TextCodec) -> None:
    """All of an answer or nothing; without tokens nobody looks."""
    office = Office(text_of(TracesSection(enabled=True, redact=("secret",)), codec))
    prompt, answer = codec.encode("say the one"), codec.encode("no secret")
    office.publisher.publish([entry(), entry(prompt_ids=prompt, answer_ids=prompt)])
    office.publisher.publish([entry(prompt_ids=prompt, answer_ids=answer)])
    assert [trace.text for trace in office.store.traces] == [None, ("say the one", "say the one"), None]
