"""What goes into a segment comes out of it, or nothing does."""

import gc
from pathlib import Path

import pytest

from decoding.request import SamplingParams
from decoding.trace_segment import DamagedSegmentError, Segment, encode, list_segments, read_entries, segment_name
from tests.toy_traces import assert_same, make_trace

EVERYTHING = SamplingParams(
    temperature=0.7,
    top_k=5,
    top_p=0.9,
    seed=2**62 + 1,
    max_tokens=9,
    stop_token_ids=frozenset({3, 1}),
    min_p=0.1,
    repetition_penalty=1.1,
    presence_penalty=0.1,
    frequency_penalty=-0.2,
    logit_bias=((4, -1.5), (2, 100.0)),
    num_logprobs=2,
)
TRACES = [
    make_trace(1, sampling=EVERYTHING),
    make_trace(2, topic=None, draft=None, tokens=1),
    make_trace(3, topic="über/..", tokens=40, top=32),
]


def write(folder: Path, data: bytes, number: int = 17) -> Path:
    path = folder / segment_name(number, data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("highest", [1000, 65_535, 151_000])
def test_every_field_of_every_trace_survives(tmp_path: Path, highest: int) -> None:
    """Also of different widths side by side, and of large vocabularies."""
    traces = [*TRACES, make_trace(4, highest=highest)]
    segment = Segment(write(tmp_path, encode([(float(n), trace) for n, trace in enumerate(traces)])))
    for index, trace in enumerate(traces):
        assert_same(segment.trace(index), trace)
    assert [entry.time for entry in segment.entries] == [0.0, 1.0, 2.0, 3.0]


def test_segments_leave_nothing_behind() -> None:
    """No type for each length that they have had: a server writes one a minute for as long as it runs."""
    encode([(0.0, TRACES[0])])  # what is made once
    before = _num_types()
    for tokens in range(30, 60):
        encode([(0.0, make_trace(tokens, tokens=tokens))])
    assert _num_types() == before


def _num_types() -> int:
    gc.collect()
    return sum(isinstance(each, type) for each in gc.get_objects())


def test_the_header_alone_says_what_there_is(tmp_path: Path) -> None:
    """Without reading a tensor."""
    path = write(tmp_path, encode([(2.5, TRACES[0])]))
    [entry] = read_entries(path)
    assert entry == Segment(path).entries[0]
    assert (entry.topic, entry.draft, entry.num_tokens, entry.num_runs, entry.num_accepted) == (
        "sql",
        "sql@v1",
        5,
        3,
        2,
    )


def test_any_changed_bit_is_noticed(tmp_path: Path) -> None:
    """A wrong token or probability would be learned from."""
    data = encode([(0.0, trace) for trace in TRACES])
    path = write(tmp_path, data)
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(DamagedSegmentError, match=path.name):
            Segment(path)
    path.write_bytes(data)
    assert len(Segment(path).entries) == 3


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{}", b"\x10" + b"\0" * 7 + b'{"a":'])
def test_a_file_that_is_none_is_named(tmp_path: Path, data: bytes) -> None:
    """Whichever way it is read."""
    path = write(tmp_path, data)
    for read in (read_entries, Segment):
        with pytest.raises(DamagedSegmentError, match=path.name):
            read(path)


def test_a_later_version_is_refused_as_such(tmp_path: Path) -> None:
    """It is not damaged."""
    data = encode([(0.0, TRACES[0])]).replace(rb"\"version\": 1", rb"\"version\": 2")
    with pytest.raises(DamagedSegmentError, match="is of version 2; this polydraft reads 1"):
        read_entries(write(tmp_path, data))


def test_only_segments_are_listed_and_oldest_first(tmp_path: Path) -> None:
    """Whatever else lies in the folder; a folder that is not there yet is empty."""
    data = encode([(0.0, TRACES[0])])
    for number in (30, 4, 100):
        write(tmp_path, data, number)
    (tmp_path / "notes.safetensors").write_bytes(data)
    assert [number for number, _ in list_segments(tmp_path)] == [4, 30, 100]
    assert list_segments(tmp_path / "none") == []
