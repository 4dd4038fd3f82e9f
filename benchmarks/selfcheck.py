"""`polydraft selfcheck`: greedy answers equal those of transformers, token by token, however they are drafted."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from transformers import AutoModelForCausalLM

from benchmarks.churn import MOST_TOGETHER, Churn, run_churn
from benchmarks.prompts import Prompt, load_prompts
from benchmarks.workbench import Workbench, machine, open_workbench, versions
from configs.errors import ConfigError
from decoding.request import Request, SamplingParams
from drafts.pool import GENERAL, LOOKUP

_BATCH = 8
CHURN = "churn"  # drafts, lengths and company of a request change while it runs: `benchmarks.churn`


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first token where an answer left the reference, with the target's top-two gap there (logits)."""

    prompt: int
    position: int
    gap: float


@dataclass
class ModeReport:
    """One way of drafting over all prompts."""

    mode: str
    batch: int
    tokens: int = 0
    target_runs: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)


@dataclass
class SelfcheckReport:
    """All ways of drafting, against one reference."""

    prompts: int
    tokens: int
    modes: list[ModeReport]
    churn: Churn | None = None

    @property
    def passed(self) -> bool:
        return not any(mode.mismatches for mode in self.modes)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        rows: list[dict[str, Any]] = [
            {
                "method": mode.mode,
                "batch": mode.batch,
                "prompts": self.prompts,
                "tokens": mode.tokens,
                "tokens_per_target_run": mode.tokens / max(1, mode.target_runs),
                "identical": not mode.mismatches,
                "mismatches": [vars_of(mismatch) for mismatch in mode.mismatches],
            }
            for mode in self.modes
        ]
        if self.churn is not None:
            rows[-1] |= asdict(self.churn)
        return {"command": "selfcheck", "machine": machine(), "versions": versions(), "rows": rows}

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """For people: a line a mode."""
        header = ["drafting", "batch", "prompts", "tokens", "tokens/run", "mismatches", "smallest gap"]
        lines = [
            [
                mode.mode,
                f"1-{mode.batch}" if mode.mode == CHURN else str(mode.batch),
                str(self.prompts),
                str(mode.tokens),
                f"{mode.tokens / max(1, mode.target_runs):.2f}",
                str(len(mode.mismatches)),
                f"{min(mismatch.gap for mismatch in mode.mismatches):.2e}" if mode.mismatches else "-",
            ]
            for mode in self.modes
        ]
        return header, lines


def vars_of(mismatch: Mismatch) -> dict[str, float]:
    """A mismatch as a record."""
    return {"prompt": mismatch.prompt, "position": mismatch.position, "top_two_gap": mismatch.gap}


def run_selfcheck(
    config: Path | None, source: Path | None, per_topic: int, tokens: int, churn: int = 1
) -> SelfcheckReport:
    """Decode every prompt with no draft, the right one, a wrong one, prompt lookup, and all of these in one batch.

    Then ``churn`` times more while everything around it changes. Stop tokens are ignored, so that every answer
    has ``tokens`` tokens on both sides.
    """
    bench = open_workbench(config, with_router=False)
    prompts = load_prompts(source, per_topic)
    if not prompts:
        raise ConfigError("no prompts to check with", do="pass --prompts a file with one JSON object a line")
    encoded = [bench.encode(prompt.text) for prompt in prompts]
    modes = _modes(bench, prompts)
    report = SelfcheckReport(len(prompts), tokens, [])
    with Progress(transient=True) as progress:
        task = progress.add_task("transformers", total=len(prompts) * (1 + len(modes) + churn))
        references = []
        for reference in _references(bench, encoded, tokens):
            references.append(reference)
            progress.advance(task)
        for (mode, batch), drafters in modes.items():
            progress.update(task, description=mode)
            part = ModeReport(mode, batch)
            for start in range(0, len(encoded), batch):
                numbers = range(start, min(start + batch, len(encoded)))
                sampling = SamplingParams(max_tokens=tokens)
                requests = [bench.request(n, encoded[n], drafters[n], sampling) for n in numbers]
                bench.decode(requests)
                for number, request in zip(numbers, requests, strict=True):
                    _compare(part, number, request, *references[number])
                progress.advance(task, len(requests))
            report.modes.append(part)
        if churn:
            progress.update(task, description=CHURN)
            part = ModeReport(CHURN, min(MOST_TOGETHER, bench.plan.slots))

            def finished(number: int, request: Request) -> None:
                _compare(part, number, request, *references[number])
                progress.advance(task)

            report.churn = run_churn(bench, encoded, tokens, churn, finished)
            report.modes.append(part)
    return report


def _modes(bench: Workbench, prompts: Sequence[Prompt]) -> dict[tuple[str, int], list[str | None]]:
    """Drafter by prompt, for every way of drafting and its batch size."""
    topics = [name for name in bench.plan.drafts if name != GENERAL]
    right = [prompt.topic if prompt.topic in topics else GENERAL for prompt in prompts]
    wrong = [topics[(topics.index(name) + 1) % len(topics)] if name in topics else GENERAL for name in right]
    count = len(prompts)
    modes: dict[tuple[str, int], list[str | None]] = {
        ("no draft", 1): [None] * count,
        ("right draft", 1): list(right),
        ("wrong draft", 1): list(wrong),
        ("prompt lookup", 1): [LOOKUP] * count,
    }
    columns = list(modes.values())
    # Prompts come topic in turn, so a batch holds different topics, and each way of drafting twice.
    modes["all mixed", _BATCH] = [columns[n % len(columns)][n] for n in range(count)]
    return modes


@torch.inference_mode()
def _references(bench: Workbench, encoded: Sequence[list[int]], tokens: int) -> Iterator[tuple[list[int], list[float]]]:
    """Tokens of transformers' greedy `generate`, in float32, and the top-two gap at each."""
    model = AutoModelForCausalLM.from_pretrained(bench.plan.target, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    for prompt in encoded:
        out = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=tokens,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        top_two = [logits[0].topk(2).values for logits in out.logits]
        yield out.sequences[0, len(prompt) :].tolist(), [float(top[0] - top[1]) for top in top_two]


def _compare(report: ModeReport, number: int, request: Request, reference: list[int], gaps: list[float]) -> None:
    report.tokens += len(request.generated)
    report.target_runs += request.counts.num_target_runs
    if request.generated != reference:
        pairs = zip(request.generated, reference, strict=True)
        position = next(index for index, (ours, theirs) in enumerate(pairs) if ours != theirs)
        report.mismatches.append(Mismatch(number, position, gaps[position]))
