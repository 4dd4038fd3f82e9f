"""`polydraft selfcheck`: greedy answers equal those of transformers, token by token, however they are drafted."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress
from transformers import AutoModelForCausalLM

from benchmarks.churn import MOST_TOGETHER, Churn, run_churn
from benchmarks.pictures import BLUE, ORANGE, canvas
from benchmarks.prompts import Prompt, load_prompts
from benchmarks.results import Report, Row, words_of
from benchmarks.workbench import Workbench, open_workbench
from configs.errors import ConfigError
from decoding.request import Request, SamplingParams
from drafts.pool import GENERAL, LOOKUP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    command: str
    prompts: int
    modes: list[ModeReport]
    churn: Churn | None = None

    @property
    def passed(self) -> bool:
        return not any(mode.mismatches for mode in self.modes)

    @property
    def tokens(self) -> int:
        """Compared in all."""
        return sum(mode.tokens for mode in self.modes)

    def report(self) -> Report:
        """A row a way of drafting, with a table and a picture."""
        rows = [self._row(mode) for mode in self.modes]
        worst = [mismatch.gap for mode in self.modes for mismatch in mode.mismatches]
        notes = [f"{self.tokens} tokens compared, {len(worst)} answers unlike transformers'."]
        if self.churn is not None:
            rows[-1] |= asdict(self.churn)
            notes.append(_told(self.churn))
        facts = {"prompts": self.prompts, "tokens": self.tokens, "passed": self.passed}
        return Report("selfcheck", self.command, rows, COLUMNS, draw_selfcheck, notes, facts)

    def _row(self, mode: ModeReport) -> Row:
        return {
            "method": mode.mode,
            "batch": mode.batch,
            "prompts": self.prompts,
            "tokens": mode.tokens,
            "tokens_per_target_run": mode.tokens / max(1, mode.target_runs),
            "identical": not mode.mismatches,
            "mismatches": [vars_of(mismatch) for mismatch in mode.mismatches],
        }


def _told(churn: Churn) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(churn.drafters.items()))
    return (
        f"Churn: {churn.reassigned} requests given another drafter in mid-answer, {churn.replaced} drafts in use given "
        f"other weights, {churn.cancelled} requests cancelled and begun again; "
        f"steps of 1 to {max(churn.batches)} requests; steps of requests by kind of drafter: {kinds}."
    )


def _smallest_gap(row: Row) -> str:
    gaps = [mismatch["top_two_gap"] for mismatch in row["mismatches"]]
    return f"{min(gaps):.2e}" if gaps else "-"


COLUMNS = {
    "drafting": lambda row: row["method"],
    "batch": lambda row: f"1-{row['batch']}" if row["method"] == CHURN else str(row["batch"]),
    "prompts": lambda row: str(row["prompts"]),
    "tokens": lambda row: str(row["tokens"]),
    "tokens/run": lambda row: f"{row['tokens_per_target_run']:.2f}",
    "mismatches": lambda row: str(len(row["mismatches"])),
    "smallest gap": _smallest_gap,
}


def vars_of(mismatch: Mismatch) -> dict[str, float]:
    """A mismatch as a record."""
    return {"prompt": mismatch.prompt, "position": mismatch.position, "top_two_gap": mismatch.gap}


def draw_selfcheck(rows: Sequence[Row]) -> "Figure":
    """Tokens compared, and tokens a target run, by way of drafting."""
    figure, panels = canvas(2, width=11)
    for axes, key, label in zip(
        panels, ("tokens", "tokens_per_target_run"), ("tokens compared", "tokens a target run"), strict=True
    ):
        colours = [BLUE if row["identical"] else ORANGE for row in rows]
        axes.barh([row["method"] for row in rows], [row[key] for row in rows], color=colours)
        axes.invert_yaxis()
        axes.set_xlabel(f"{label} (orange: not identical)")
    return figure


def run_selfcheck(
    config: Path | None, source: Path | None, per_topic: int, tokens: int, churn: int = 6
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
    command = words_of("selfcheck", prompts=source, config=config, per_topic=per_topic, tokens=tokens, churn=churn)
    report = SelfcheckReport(command, len(prompts), [])
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
