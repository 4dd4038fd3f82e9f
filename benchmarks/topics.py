"""`polydraft bench topics`: batch 1, greedy, by topic: every way of choosing who drafts, against plain decoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.progress import Progress

from benchmarks.pictures import draw_topics
from benchmarks.prompts import Prompt, in_blocks, load_prompts
from benchmarks.results import Report, Row, command_line, shown, shown_with_spread, yes_no
from benchmarks.tally import Tally, break_even, predicted_speedup
from benchmarks.workbench import Workbench, open_workbench
from configs.errors import ConfigError
from decoding.costs import StepCosts
from decoding.request import Request, SamplingParams
from decoding.turn import StepTimes
from drafts.pool import GENERAL, LOOKUP

METHODS = ("plain", "lookup", "random", "pooled", "routed", "oracle")
ALL = "all"
_SEED = 0
_WIDTH = 5  # rows of the verification whose cost is shown
_LENGTHS = (1, 2, 4, 8)  # of proposals whose break-even is shown

COLUMNS = {
    "topic": lambda row: row["topic"],
    "method": lambda row: row["method"],
    "prompts": lambda row: str(row["prompts"]),
    "tokens": lambda row: str(row["tokens"]),
    "accept": lambda row: shown(row["mean_acceptance_length"]),
    "tokens/run": lambda row: shown(row["tokens_per_target_run"]),
    "alpha": lambda row: shown(row["alpha"], "{:.3f}"),
    "by position": lambda row: " ".join(f"{value:.2f}" for value in row["acceptance_by_position"]) or "-",
    "c": lambda row: shown(row["c"], "{:.3f}"),
    f"w({_WIDTH})": lambda row: shown(row["w"]),
    "expected": lambda row: f"{row['predicted_speedup']:.2f}x",
    "measured": lambda row: shown_with_spread(row, "speedup", unit="x"),
    "same": lambda row: yes_no(row["identical"]),
}


@dataclass
class _Case:
    """One prompt and who drafts for it, by method."""

    prompt: Prompt
    token_ids: list[int]
    drafters: Mapping[str, str | None]

    @property
    def topics(self) -> tuple[str, str]:
        return self.prompt.topic or "unknown", ALL


def run_topics(config: Path | None, source: Path | None, per_topic: int, tokens: int, repeats: int) -> Report:
    """Decode each prompt once a method, methods in turn, in ``repeats`` blocks of different prompts.

    The router has decided, and the oracle has counted every draft, before the clock starts.

    Raises:
        ConfigError: too few prompts, or no general draft.
    """
    if repeats < 1 or per_topic < repeats:
        raise ConfigError(f"{per_topic} prompts a topic cannot make {repeats} blocks", do="pass a larger --per-topic")
    bench = open_workbench(config)
    prompts = load_prompts(source, per_topic)
    if not prompts:
        raise ConfigError("no prompts to measure with", do="pass --prompts a file with one JSON object a line")
    sampling = SamplingParams(max_tokens=tokens, stop_token_ids=bench.plan.end_token_ids)
    costs, target_ms = bench.measure_costs()
    tallies: dict[tuple[str, str], Tally] = {}
    with Progress(transient=True) as progress:
        cases = _cases(bench, prompts, sampling, costs, progress)
        bench.times = StepTimes()
        task = progress.add_task("by topic", total=len(cases))
        for block in in_blocks(prompts, repeats):
            seconds: dict[tuple[str, str], float] = {}
            for number in block:
                _measure(bench, number, cases[number], sampling, tallies, seconds)
                progress.advance(task)
            for topic, method in seconds:
                tallies[topic, method].speedups.append(seconds[topic, "plain"] / seconds[topic, method])
    times = bench.times
    even = {length: break_even(costs, length) for length in _LENGTHS}
    shares = {part: getattr(times, part) / times.total for part in ("target", "draft", "other")}
    return Report(
        name="topics",
        command=command_line(
            "topics", prompts=source, config=config, per_topic=per_topic, tokens=tokens, repeats=repeats
        ),
        rows=[_row(key, tallies[key], costs) for key in sorted(tallies, key=_order)],
        columns=COLUMNS,
        draw=draw_topics,
        notes=[
            f"A target run over one row takes {target_ms:.2f} ms.",
            "Step: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()),
            break_even_note(even),
        ],
        facts={
            "target_ms": target_ms,
            "w": {str(rows): cost for rows, cost in costs.target.items()},
            "step_shares": shares,
            "break_even": {str(length): alpha for length, alpha in even.items()},
        },
    )


def break_even_note(even: Mapping[int, float | None]) -> str:
    """From which alpha on a draft pays here, by length of its proposals."""
    parts = [f"{length}: {shown(alpha, '{:.3f}') if alpha is not None else 'none'}" for length, alpha in even.items()]
    return f"Break-even alpha by proposed tokens: {', '.join(parts)}; a draft below it slows this machine down."


def _cases(
    bench: Workbench, prompts: Sequence[Prompt], sampling: SamplingParams, costs: StepCosts, progress: Progress
) -> list[_Case]:
    names = list(bench.plan.drafts)
    random = Random(_SEED)
    encoded = [bench.encode(prompt.text) for prompt in prompts]
    _warm_up(bench, encoded[0], sampling)
    best = _best_drafts(bench, encoded, sampling, costs, progress)
    return [
        _Case(
            prompt,
            token_ids,
            {
                "plain": None,
                "lookup": LOOKUP,
                "random": random.choice(names),
                "pooled": GENERAL,
                "routed": bench.routed(prompt.text),
                "oracle": oracle,
            },
        )
        for prompt, token_ids, oracle in zip(prompts, encoded, best, strict=True)
    ]


def _best_drafts(
    bench: Workbench,
    encoded: Sequence[list[int]],
    sampling: SamplingParams,
    costs: StepCosts,
    progress: Progress,
) -> list[str]:
    """For each prompt the draft with the highest predicted speed-up; counts are the same however often they are taken.

    Drafts come one after the other, so that each is loaded once.
    """
    found: list[dict[str, float]] = [{} for _ in encoded]
    task = progress.add_task("oracle", total=len(bench.plan.drafts) * len(encoded))
    for name in bench.plan.drafts:
        for number, token_ids in enumerate(encoded):
            request = bench.request(number, token_ids, name, sampling, may_copy=True)
            bench.decode([request])
            found[number][name] = predicted_speedup(request.counts, costs)
            progress.advance(task)
    return [max(speedups, key=lambda name: speedups[name]) for speedups in found]


def _measure(
    bench: Workbench,
    number: int,
    case: _Case,
    sampling: SamplingParams,
    tallies: dict[tuple[str, str], Tally],
    seconds: dict[tuple[str, str], float],
) -> None:
    # The order turns from prompt to prompt, so that no method always finds the caches warm.
    turned = METHODS[number % len(METHODS) :] + METHODS[: number % len(METHODS)]
    done: dict[str, Request] = {}
    for method in turned:
        request = bench.request(number, case.token_ids, case.drafters[method], sampling, may_copy=True)
        elapsed = bench.decode([request])
        done[method] = request
        for topic in case.topics:
            seconds[topic, method] = seconds.get((topic, method), 0.0) + elapsed
    reference = done["plain"].generated
    for method, request in done.items():
        for topic in case.topics:
            tallies.setdefault((topic, method), Tally()).add(request, reference)


def _warm_up(bench: Workbench, token_ids: list[int], sampling: SamplingParams) -> None:
    for drafter in (None, GENERAL):
        bench.decode([bench.request(0, token_ids, drafter, sampling)])


def _row(key: tuple[str, str], tally: Tally, costs: StepCosts) -> Row:
    topic, method = key
    return {
        "topic": topic,
        "method": method,
        "concurrency": 1,
        **tally.row(),
        "copied": tally.counts.num_copied_tokens,
        "c": None if method in ("plain", "lookup") else costs.draft_step(1),
        "w": None if method == "plain" else costs.target_run(_WIDTH),
        "predicted_speedup": predicted_speedup(tally.counts, costs),
    }


def _order(key: tuple[str, str]) -> tuple[bool, str, int]:
    topic, method = key
    return topic == ALL, topic, METHODS.index(method)
