"""What a draft learns from: texts, and the target's law of every token that counts."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from decoding.request import Origin
from decoding.trace import SpeculationTrace


@dataclass(frozen=True)
class Examples:
    """Texts back to back, with laws of some of their tokens.

    A law belongs to the token that it predicts. The student says what it thinks of that token at the position
    *before* it; whoever pairs the two takes one off (`training.distillation.rows`), and nobody else does.

    Attributes:
        token_ids: int32 [tokens].
        starts: where each text begins and, last, where all end, int64 [texts + 1].
        places: the token that each law is of, ascending, never the first of a text, int64 [laws].
        weights: what each law counts, float32 [laws].
        top_ids, top_probs: the law, most probable first, int32 and float16 [laws, m]; the rest is the tail.
    """

    token_ids: Tensor
    starts: Tensor
    places: Tensor
    weights: Tensor
    top_ids: Tensor
    top_probs: Tensor

    def __len__(self) -> int:
        """Texts."""
        return len(self.starts) - 1

    @property
    def learnt(self) -> Tensor:
        """The tokens that laws are of, int64 [laws]."""
        return self.token_ids[self.places].long()

    def digest(self) -> str:
        """Of texts, laws and weights, 16 hexadecimal digits."""
        whole = hashlib.sha256()
        for tensor in vars(self).values():
            whole.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return whole.hexdigest()[:16]

    def save(self, file: Path) -> None:
        """Write safetensors, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        save_file({name: tensor.contiguous() for name, tensor in vars(self).items()}, fresh)
        fresh.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Examples":
        """What `save` wrote."""
        return cls(**load_file(file))


@dataclass(frozen=True)
class ScoredText:
    """One text with the laws of all its tokens from ``first`` on: ``top_ids``, ``top_probs`` [n, m]."""

    token_ids: Sequence[int]
    first: int
    top_ids: Tensor
    top_probs: Tensor
    weights: Tensor | None = None  # [n]; None is 1 everywhere


def pack(texts: Sequence[ScoredText]) -> Examples:
    """Texts as examples; tokens of weight 0 are context only. Laws are cut to the narrowest of all."""
    width = min((text.top_ids.size(1) for text in texts), default=1)
    starts = torch.tensor([0, *(len(text.token_ids) for text in texts)]).cumsum(0)
    places, weights, ids, probs = [], [], [torch.zeros(0, width)], [torch.zeros(0, width)]
    for start, text in zip(starts.tolist(), texts, strict=False):
        assert text.first >= 1, "nothing comes before the first token, so nobody can predict it"
        assert text.first + len(text.top_ids) == len(text.token_ids)
        weight = torch.ones(len(text.top_ids)) if text.weights is None else text.weights
        kept = weight.nonzero()[:, 0]
        places.append(start + text.first + kept)
        weights.append(weight[kept])
        ids.append(text.top_ids[kept, :width])
        probs.append(text.top_probs[kept, :width])
    return Examples(
        token_ids=torch.tensor([token for text in texts for token in text.token_ids], dtype=torch.int32),
        starts=starts,
        places=torch.cat([torch.zeros(0, dtype=torch.int64), *places]),
        weights=torch.cat([torch.zeros(0), *weights]).float(),
        top_ids=torch.cat(ids).to(torch.int32),
        top_probs=torch.cat(probs).to(torch.float16),
    )


def join(parts: Sequence[Examples]) -> Examples:
    """All texts of ``parts``, in order; laws are cut to the narrowest of all."""
    width = min((part.top_ids.size(1) for part in parts if len(part)), default=1)
    shifts = torch.tensor([0, *(len(part.token_ids) for part in parts)]).cumsum(0).tolist()
    return Examples(
        token_ids=torch.cat([part.token_ids for part in parts]),
        starts=torch.cat(
            [torch.zeros(1, dtype=torch.int64)]
            + [part.starts[1:] + shift for part, shift in zip(parts, shifts, strict=False)]
        ),
        places=torch.cat([part.places + shift for part, shift in zip(parts, shifts, strict=False)]),
        weights=torch.cat([part.weights for part in parts]),
        top_ids=torch.cat([part.top_ids[:, :width] for part in parts]),
        top_probs=torch.cat([part.top_probs[:, :width] for part in parts]),
    )


def from_text(texts: Iterable[tuple[Sequence[int], int]]) -> Examples:
    """Plain text to be predicted as it stands: each law is the token itself.

    Args:
        texts: token ids, and where the part to be learnt begins (0 and 1 both mean all of it).
    """
    scored = []
    for token_ids, first in texts:
        begin = max(1, first)
        ids = torch.tensor(token_ids[begin:], dtype=torch.int32)[:, None]
        scored.append(ScoredText(token_ids, min(begin, len(token_ids)), ids, torch.ones(len(ids), 1)))
    return pack(scored)


def from_traces(traces: Iterable[SpeculationTrace], wrong_only: bool = False, wrong_weight: float = 2.0) -> Examples:
    """Recorded answers, with the laws that verification had anyway.

    A position is wrong where a proposal was refused: the token there is the target's own correction. Bonus
    tokens are not wrong; the released OSD counts them, and trains the token after each.

    Args:
        wrong_only: learn at wrong positions alone.
        wrong_weight: what a wrong position counts beside the others' 1.
    """
    scored = []
    for trace in traces:
        wrong = torch.tensor([origin is Origin.CORRECTED for origin in trace.origins])
        others = 0.0 if wrong_only else 1.0
        weights = torch.where(wrong, 1.0 if wrong_only else wrong_weight, others)
        scored.append(ScoredText(trace.token_ids, trace.prompt_length, trace.top_ids, trace.top_probs, weights))
    return pack(scored)
