import multiprocessing
import os

import pytest

from serving.frames import FrameReader, discard


@pytest.fixture
def pipe():
    reader, writer = multiprocessing.Pipe(duplex=False)
    yield reader, writer
    reader.close()
    writer.close()


@pytest.mark.parametrize("size", [0, 1, 5, 16_384, 16_385, 40_000])
def test_messages_arrive_whole_and_in_order(pipe, size):
    """Those that Connection writes in one piece, and those whose length goes ahead."""
    reader, writer = pipe
    frames = FrameReader(reader)
    assert frames.read() == []
    for letter in (b"a", b"b"):
        writer.send_bytes(letter * size)
        if size > 20_000:
            assert frames.read() == [letter * size]
    if size <= 20_000:
        assert frames.read() == [b"a" * size, b"b" * size]


def test_half_a_message_waits_for_its_rest_and_is_forgotten_with_its_writer(pipe):
    """Neither blocks; what a new writer says is not mistaken for the end of it."""
    reader, writer = pipe
    frames = FrameReader(reader)
    whole = (5).to_bytes(4) + b"hello"
    os.write(writer.fileno(), whole + whole[:3])
    assert frames.read() == [b"hello"]
    os.write(writer.fileno(), whole[3:7])
    assert frames.read() == []
    os.write(writer.fileno(), whole[7:])
    assert frames.read() == [b"hello"]
    os.write(writer.fileno(), whole[:7])
    assert frames.read() == []
    frames.clear()
    writer.send_bytes(b"new")
    assert frames.read() == [b"new"]


def test_a_length_beyond_two_gigabytes_is_read_as_connection_writes_it(pipe):
    reader, writer = pipe
    frames = FrameReader(reader)
    os.write(writer.fileno(), (-1).to_bytes(4, signed=True) + (3).to_bytes(8) + b"abc")
    assert frames.read() == [b"abc"]


def test_an_end_is_told(pipe):
    """Else a loop would wait for news that cannot come."""
    reader, writer = pipe
    frames = FrameReader(reader)
    writer.close()
    with pytest.raises(EOFError):
        frames.read()


def test_a_discarded_pipe_is_empty_and_waits_again(pipe):
    """The next reader begins with a whole message."""
    reader, writer = pipe
    writer.send("old")
    reader_position = os.read(reader.fileno(), 6)  # the dead reader took the length and a little
    assert len(reader_position) == 6
    discard(reader)
    assert not reader.poll(0)
    writer.send("new")
    assert reader.recv() == "new"
    assert os.get_blocking(reader.fileno())
