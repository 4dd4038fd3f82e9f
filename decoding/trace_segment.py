"""Traces as a file: safetensors of all their tensors end to end, and JSON metadata with an entry a trace.

Nothing is ever unpickled. A segment's name is its number, nanoseconds since 1970 when it was closed, and the CRC-32
of its bytes: ``01763738625000000000-5f3a01bc.safetensors``.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load
from torch import Tensor

from decoding.request import FinishReason, Origin, SamplingParams
from decoding.trace import SpeculationTrace

_KEY, _VERSION = "polydraft_traces", 1
_NAME = re.compile(r"(\d{20})-([0-9a-f]{8})\.safetensors")
_MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit
_ORIGINS = tuple(Origin)
_MOST_UINT16 = (1 << 16) - 1
_DEFAULTS = SamplingParams()


class DamagedSegmentError(ValueError):
    """A file that is named like a segment and is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a segment says about one trace without its tensors; ``time`` is when it ended, in seconds since 1970."""

    prompt_length: int
    num_tokens: int  # of the answer
    num_runs: int
    num_accepted: int  # tokens that a drafter wrote
    top: int
    sampling: dict[str, Any]
    finish_reason: str
    topic: str | None
    draft: str | None
    target: str
    time: float


def segment_name(number: int, data: bytes) -> str:
    """File name of a segment."""
    return f"{number:020d}-{crc32(data):08x}.safetensors"


def list_segments(folder: Path) -> list[tuple[int, Path]]:
    """Numbers and files, oldest first; empty where there is no such folder."""
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    return sorted((int(match[1]), path) for match, path in found)


def encode(traces: Sequence[tuple[float, SpeculationTrace]]) -> bytes:
    """The bytes of a segment. Each trace comes with the time at which it ended."""
    entries = [asdict(_entry(time, trace)) for time, trace in traces]
    held = [trace for _, trace in traces]
    top_ids = torch.cat([trace.top_ids.flatten() for trace in held])
    small = int(top_ids.max()) <= _MOST_UINT16
    tensors = {
        "token_ids": torch.tensor([token_id for trace in held for token_id in trace.token_ids], dtype=torch.int32),
        "origins": torch.tensor([_ORIGINS.index(o) for trace in held for o in trace.origins], dtype=torch.uint8),
        "run_lengths": torch.tensor([length for trace in held for length in trace.run_lengths], dtype=torch.int32),
        "probs": torch.cat([trace.probs for trace in held]),
        "drawn_probs": torch.cat([trace.drawn_probs for trace in held]),
        "top_ids": top_ids.to(torch.uint16) if small else top_ids,
        "top_probs": torch.cat([trace.top_probs.flatten() for trace in held]),
    }
    # `safetensors.torch.save` makes a ctypes type for every length of a tensor, which ctypes keeps for ever.
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return save(arrays, {_KEY: json.dumps({"version": _VERSION, "traces": entries})})


def read_entries(path: Path) -> list[Entry]:
    """What is in a segment, from its header alone.

    Raises:
        FileNotFoundError: it has been removed.
        DamagedSegmentError: it is none, or of a later version of polydraft.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return _parse(file.read(min(size, _MOST_HEADER_BYTES)), path)


class Segment:
    """A whole segment in memory; its traces are made when they are asked for."""

    def __init__(self, path: Path):
        """Read it.

        Raises:
            FileNotFoundError: it has been removed.
            DamagedSegmentError: not a byte of it can be trusted.
        """
        data = path.read_bytes()
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[2], 16) != crc32(data):
            raise DamagedSegmentError(f"{path} is damaged: its bytes are not those that were written")
        self.entries = _parse(data[8 : 8 + int.from_bytes(data[:8], "little")], path)
        try:
            self._tensors = load(data)
        except SafetensorError as error:
            raise DamagedSegmentError(f"{path} is damaged: {error}") from error
        sizes = [[_sizes(entry)[name] for entry in self.entries] for name in self._tensors]
        if [sum(parts) for parts in sizes] != [len(tensor) for tensor in self._tensors.values()]:
            raise DamagedSegmentError(f"{path} is damaged: its tensors are not as long as it says")
        self._parts = {
            name: torch.split_with_sizes(tensor, parts)
            for (name, tensor), parts in zip(self._tensors.items(), sizes, strict=True)
        }

    def trace(self, index: int) -> SpeculationTrace:
        """One of its traces."""
        entry = self.entries[index]

        def part(name: str) -> Tensor:
            return self._parts[name][index].clone()  # not to keep the segment for the sake of a trace

        return SpeculationTrace(
            token_ids=part("token_ids").tolist(),
            prompt_length=entry.prompt_length,
            origins=[_ORIGINS[code] for code in part("origins").tolist()],
            run_lengths=part("run_lengths").tolist(),
            probs=part("probs"),
            drawn_probs=part("drawn_probs"),
            top_ids=part("top_ids").to(torch.int32).view(-1, entry.top),
            top_probs=part("top_probs").view(-1, entry.top),
            sampling=_sampling(entry.sampling),
            finish_reason=FinishReason(entry.finish_reason),
            topic=entry.topic,
            draft=entry.draft,
            target=entry.target,
        )


def _entry(time: float, trace: SpeculationTrace) -> Entry:
    settings = {
        each.name: value
        for each in fields(SamplingParams)
        if each.init and (value := getattr(trace.sampling, each.name)) != getattr(_DEFAULTS, each.name)
    }
    return Entry(
        prompt_length=trace.prompt_length,
        num_tokens=len(trace.origins),
        num_runs=len(trace.run_lengths),
        num_accepted=sum(origin in (Origin.DRAFT, Origin.LOOKUP) for origin in trace.origins),
        top=trace.top_ids.size(-1),
        sampling={name: sorted(value) if isinstance(value, frozenset) else value for name, value in settings.items()},
        finish_reason=trace.finish_reason.value,
        topic=trace.topic,
        draft=trace.draft,
        target=trace.target,
        time=time,
    )


def _sampling(settings: dict[str, Any]) -> SamplingParams:
    stops = frozenset(settings.get("stop_token_ids", ()))
    biases = tuple((token_id, bias) for token_id, bias in settings.get("logit_bias", ()))
    return SamplingParams(**{**settings, "stop_token_ids": stops, "logit_bias": biases})


def _sizes(entry: Entry) -> dict[str, int]:
    tokens, top = entry.num_tokens, entry.num_tokens * entry.top
    flat = {"token_ids": entry.prompt_length + tokens, "run_lengths": entry.num_runs, "top_ids": top, "top_probs": top}
    return {"origins": tokens, "probs": tokens, "drawn_probs": tokens, **flat}


def _parse(header: bytes, path: Path) -> list[Entry]:
    try:
        document = json.loads(json.loads(header)["__metadata__"][_KEY])
        entries = [Entry(**entry) for entry in document["traces"]] if document["version"] == _VERSION else None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSegmentError(f"{path} is damaged: it has no header of ours") from error
    if entries is None:
        raise DamagedSegmentError(f"{path} is of version {document['version']}; this polydraft reads {_VERSION}")
    return entries
