"""`polydraft bench topics`: batch 1, greedy, by topic: plain, prompt lookup, pooled draft, routed."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import Progress

from benchmarks.prompts import Prompt, load_prompts
from benchmarks.results import save_results
from benchmarks.workbench import Workbench, machine, open_workbench, versions
from configs.errors import ConfigError
from decoding.costs import StepCosts
from decoding.costs import measure_costs
from decoding.model import LanguageModel
from decoding.request import Request, SamplingParams
from drafts.model_drafter import ModelDrafter
from drafts.pool import GENERAL, LOOKUP

METHODS = ("plain", "lookup", "pooled", "routed")
ALL = "all"


@dataclass
class Cell:
    """Counts and seconds of one method on one topic."""

    tokens: int = 0
    target_runs: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted: int = 0
    rejected: int = 0
    accepted_per_pos: list[int] = field(default_factory=list)
    differing: int = 0
    prompts: int = 0
    speedups: list[float] = field(default_factory=list)  # a block each

    def add(self, request: Request, reference: list[int]) -> None:
        """Count one finished request."""
        counts = request.counts
        self.prompts += 1
        self.tokens += counts.num_generated_tokens
        self.target_runs += counts.num_target_runs
        self.drafts += counts.num_drafts
        self.draft_tokens += counts.num_draft_tokens
        self.accepted += counts.num_accepted_tokens
        self.rejected += counts.num_rejected_drafts
        self.differing += request.generated != reference
        per_pos = counts.num_accepted_tokens_per_pos
        self.accepted_per_pos.extend([0] * (len(per_pos) - len(self.accepted_per_pos)))
        for position, accepted in enumerate(per_pos):
            self.accepted_per_pos[position] += accepted

    @property
    def tokens_per_run(self) -> float:
        return self.tokens / max(1, self.target_runs)

    @property
    def mean_acceptance_length(self) -> float | None:
        return 1 + self.accepted / self.drafts if self.drafts else None

    @property
    def alpha(self) -> float | None:
        """Share of accepted tokens among those whose position was reached."""
        reached = self.accepted + self.rejected
        return self.accepted / reached if reached else None

    def predicted_speedup(self, costs: StepCosts, draft_step: float) -> float:
        """Tokens over the cost of their target runs and draft steps, in target runs over one row."""
        if not self.drafts:
            return self.tokens_per_run
        width = 1 + round(self.draft_tokens / self.drafts)
        speculative = self.drafts * costs.target_run(width) + self.draft_tokens * draft_step
        return self.tokens / (self.target_runs - self.drafts + speculative)


@dataclass
class TopicsReport:
    """Everything that `polydraft bench topics` found."""

    command: str
    target_ms: float
    costs: StepCosts
    cells: dict[tuple[str, str], Cell]
    shares: dict[str, float]

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        rows = [self._row(topic, method, cell) for (topic, method), cell in self.cells.items()]
        return {
            "command": self.command,
            "machine": machine(),
            "versions": versions(),
            "target_ms": self.target_ms,
            "w": {str(rows): cost for rows, cost in self.costs.target.items()},
            "step_shares": self.shares,
            "rows": rows,
        }

    def _row(self, topic: str, method: str, cell: Cell) -> dict[str, Any]:
        cost = 0.0 if method == "lookup" else self.costs.draft_step(1)
        return {
            "topic": topic,
            "method": method,
            "concurrency": 1,
            "prompts": cell.prompts,
            "tokens": cell.tokens,
            "mean_acceptance_length": cell.mean_acceptance_length,
            "tokens_per_target_run": cell.tokens_per_run,
            "alpha": cell.alpha,
            "acceptance_by_position": [accepted / max(1, cell.drafts) for accepted in cell.accepted_per_pos],
            "c": cost if method != "plain" else None,
            "w": self.costs.target_run(5),
            "predicted_speedup": cell.predicted_speedup(self.costs, cost),
            "speedup": median(cell.speedups),
            "speedup_min": min(cell.speedups),
            "speedup_max": max(cell.speedups),
            "identical": cell.differing == 0,
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """For people: a line a topic and method."""
        header = ["topic", "method", "prompts", "tokens", "accept", "tokens/run", "alpha", "by position", "c"]
        header += ["w(5)", "expected", "measured", "same"]
        return header, [self._line(row) for row in self.document()["rows"]]

    def _line(self, row: dict[str, Any]) -> list[str]:
        drafted = row["mean_acceptance_length"] is not None
        spread = (row["speedup_max"] - row["speedup_min"]) / 2
        return [
            row["topic"],
            row["method"],
            str(row["prompts"]),
            str(row["tokens"]),
            f"{row['mean_acceptance_length']:.2f}" if drafted else "-",
            f"{row['tokens_per_target_run']:.2f}",
            f"{row['alpha']:.3f}" if drafted else "-",
            " ".join(f"{value:.2f}" for value in row["acceptance_by_position"]) or "-",
            f"{row['c']:.3f}" if drafted else "-",
            f"{row['w']:.2f}" if drafted else "-",
            f"{row['predicted_speedup']:.2f}x",
            f"{row['speedup']:.2f}x ± {spread:.2f}",
            "yes" if row["identical"] else "NO",
        ]

    def save(self, folder: Path) -> list[Path]:
        """A dated table, picture and JSON document."""
        bars = {
            topic: (self.cells[topic, "routed"].tokens_per_run, median(self.cells[topic, "routed"].speedups))
            for topic in dict.fromkeys(topic for topic, _ in self.cells)
        }
        return save_results(folder, "topics", self.command, self.document(), *self.rows(), bars=bars)


def run_topics(config: Path | None, source: Path | None, per_topic: int, tokens: int, repeats: int) -> TopicsReport:
    """Decode each prompt once a method and block, methods in turn; the router has decided before the clock starts."""
    if repeats < 1 or per_topic < repeats:
        raise ConfigError(f"{per_topic} prompts a topic cannot make {repeats} blocks", do="pass a larger --per-topic")
    bench = open_workbench(config)
    prompts = load_prompts(source, per_topic)
    costs, target_ms = measure_costs(bench.target, _draft_model(bench))
    cells: dict[tuple[str, str], Cell] = {}
    _warm_up(bench, prompts[0])
    with Progress(transient=True) as progress:
        task = progress.add_task("by topic", total=len(prompts))
        for block in range(repeats):
            seconds: dict[tuple[str, str], float] = {}
            for number in range(block, len(prompts), repeats):
                _measure(bench, number, prompts[number], tokens, cells, seconds)
                progress.advance(task)
            for topic, method in seconds:
                cells[topic, method].speedups.append(seconds[topic, "plain"] / seconds[topic, method])
    times = bench.times
    shares = {
        "target": times.target / times.total,
        "draft": times.draft / times.total,
        "other": times.other / times.total,
    }
    given = "--prompts FILE " if source is not None else ""
    command = f"polydraft bench topics {given}--per-topic {per_topic} --tokens {tokens} --repeats {repeats}"
    return TopicsReport(command, target_ms, costs, dict(sorted(cells.items(), key=_order)), shares)


def _measure(
    bench: Workbench,
    number: int,
    prompt: Prompt,
    tokens: int,
    cells: dict[tuple[str, str], Cell],
    seconds: dict[tuple[str, str], float],
) -> None:
    encoded = bench.encode(prompt.text)
    drafters = {"plain": None, "lookup": LOOKUP, "pooled": GENERAL, "routed": bench.routed(prompt.text)}
    sampling = SamplingParams(max_tokens=tokens, stop_token_ids=bench.plan.end_token_ids)
    # The order turns from prompt to prompt, so that no method always finds the caches warm.
    turned = METHODS[number % len(METHODS) :] + METHODS[: number % len(METHODS)]
    done: dict[str, Request] = {}
    for method in turned:
        request = bench.request(number, encoded, drafters[method], sampling)
        elapsed = bench.decode([request])
        done[method] = request
        for topic in (prompt.topic or "unknown", ALL):
            seconds[topic, method] = seconds.get((topic, method), 0.0) + elapsed
    reference = done["plain"].generated
    for method, request in done.items():
        for topic in (prompt.topic or "unknown", ALL):
            cells.setdefault((topic, method), Cell()).add(request, reference)


def _draft_model(bench: Workbench) -> LanguageModel:
    name = bench.pool.select(GENERAL)
    drafter = bench.pool[name] if name is not None else None
    if not isinstance(drafter, ModelDrafter):
        raise ConfigError("this deployment has no general draft to measure", do="set drafts.general")
    return drafter.model


def _warm_up(bench: Workbench, prompt: Prompt) -> None:
    encoded = bench.encode(prompt.text)
    for drafter in (None, GENERAL):
        bench.decode([bench.request(0, encoded, drafter, SamplingParams(max_tokens=32))])
    bench.times = type(bench.times)()


def _order(item: tuple[tuple[str, str], Cell]) -> tuple[bool, str, int]:
    (topic, method), _ = item
    return topic == ALL, topic, METHODS.index(method)
