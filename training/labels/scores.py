"""How recorded answers fare under a draft, replayed once and kept, piece by piece, for each set of weights."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from training.replay import Acceptance, acceptances

logger = logging.getLogger(__name__)

PIECE = 128  # answers a file: what a kill may cost
_DIGEST_BYTES = 16

Told = Callable[[int, int], None]  # done, in all


@dataclass
class ScoreBook:
    """Acceptances of one draft in a folder, by answer.

    Attributes:
        folder: of all drafts; each has a folder by its fingerprint, so that a new version costs only its own replay.
        fingerprint: of the draft's weights.
        num_replayed: answers replayed since this object was made.
    """

    folder: Path
    fingerprint: str
    load_draft: Callable[[], LanguageModel]
    num_replayed: int = 0
    _known: dict[bytes, Acceptance] | None = field(default=None, repr=False)

    def scores(self, traces: Sequence[SpeculationTrace], told: Told = lambda *_: None) -> list[Acceptance]:
        """The acceptance of each answer; those that are missing are replayed.

        Raises:
            ValueError: an answer is longer than the draft's cache, or was drawn by a lossy rule.
        """
        known = self._read()
        digests = [answer_digest(trace) for trace in traces]
        todo = {key: trace for key, trace in zip(digests, traces, strict=True) if key not in known}
        missing = sorted(todo.items(), key=lambda each: len(each[1].token_ids))  # like lengths share a forward
        draft = self.load_draft() if missing else None
        for start in range(0, len(missing), PIECE):
            assert draft is not None
            keys, held = zip(*missing[start : start + PIECE], strict=True)
            found = acceptances(draft, held)
            self._keep(keys, found)
            known.update(zip(keys, found, strict=True))
            self.num_replayed += len(found)
            told(start + len(found), len(missing))
        return [known[key] for key in digests]

    def prune(self, most: int) -> None:
        """Forget the oldest answers beyond about ``most``, here and on disk; for books that grow for ever."""
        known = self._read()
        if len(known) <= most:
            return
        for key in list(known)[: len(known) - most]:
            del known[key]
        kept = 0
        for file in sorted(self._place.glob("*.safetensors"), key=lambda each: each.stat().st_mtime_ns, reverse=True):
            if kept >= most:
                file.unlink(missing_ok=True)
            kept += int(file.stem.rpartition("-")[2])

    @property
    def _place(self) -> Path:
        return self.folder / self.fingerprint[:32]

    def _keep(self, keys: Sequence[bytes], found: Sequence[Acceptance]) -> None:
        tensors = {
            "digests": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, _DIGEST_BYTES),
            "sizes": torch.tensor([each.num_tokens for each in found], dtype=torch.int32),
            "first": torch.tensor([each.first for each in found], dtype=torch.uint8),
            "max_tokens": torch.tensor([each.max_tokens for each in found], dtype=torch.int32),
            "values": _small(torch.cat([each.values for each in found])),
        }
        self._place.mkdir(parents=True, exist_ok=True)
        file = self._place / f"{keys[0].hex()}-{len(keys)}.safetensors"
        unfinished = file.with_suffix(".part")
        save_file(tensors, unfinished)
        unfinished.replace(file)

    def _read(self) -> dict[bytes, Acceptance]:
        if self._known is None:
            self._known = {}
            for file in sorted(self._place.glob("*.safetensors")):
                try:
                    self._known.update(_piece(file))
                except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
                    logger.warning("%s is damaged and replayed again: %s", file, error)
        return self._known


def _small(values: Tensor) -> Tensor:
    """In a byte each where the answers are greedy."""
    return values.to(torch.uint8) if bool(((values == 0) | (values == 1)).all()) else values


def answer_digest(trace: SpeculationTrace) -> bytes:
    """Sixteen bytes over all that an acceptance depends on beside the draft."""
    sampling = replace(trace.sampling, stop_token_ids=frozenset())  # a set has no order, and stops change no value
    found = hashlib.sha256(repr((trace.token_ids, trace.prompt_length, sampling)).encode())
    if not trace.sampling.is_greedy:
        found.update(trace.drawn_probs.numpy().tobytes())
    return found.digest()[:_DIGEST_BYTES]


def _piece(file: Path) -> dict[bytes, Acceptance]:
    tensors = load_file(file)
    keys = [bytes(row) for row in tensors["digests"].tolist()]
    values = torch.split_with_sizes(tensors["values"], tensors["sizes"].tolist())
    rows = zip(keys, values, tensors["first"].tolist(), tensors["max_tokens"].tolist(), strict=True)
    return {key: Acceptance(each.double(), first, most) for key, each, first, most in rows}
