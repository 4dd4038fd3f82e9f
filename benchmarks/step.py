"""`polydraft bench step`: what one step of the loop costs, by part, for several batch sizes and kinds of drafting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.progress import Progress

from benchmarks.forced import ForcedDrafter
from benchmarks.pictures import draw_step
from benchmarks.prompts import load_prompts
from benchmarks.results import Report, Row, command_line, shown, shown_with_spread, with_spread, yes_no
from benchmarks.tally import Tally
from benchmarks.workbench import Workbench, open_workbench
from configs.errors import ConfigError
from decoding.controller import LengthController
from decoding.device.loop import make_loop
from decoding.drafter import Drafter
from decoding.proposal import MAX_DRAFT_TOKENS
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from decoding.turn import StepTimes
from drafts.pool import GENERAL, LOOKUP

METHODS = ("plain", "routed", "single", "mixed")
_PARTS = ("target", "draft", "other")

COLUMNS = {
    "batch": lambda row: str(row["concurrency"]),
    "method": lambda row: row["method"],
    "drafts": lambda row: str(row["drafts"]),
    "ms/step": lambda row: shown_with_spread(row, "step_ms", "{:.3f}"),
    "target": lambda row: f"{row['target_ms']:.3f}",
    "draft": lambda row: f"{row['draft_ms']:.3f}",
    "other": lambda row: f"{row['other_ms']:.3f}",
    "other share": lambda row: f"{row['other_share']:.1%}",
    "tokens/run": lambda row: f"{row['tokens_per_target_run']:.2f}",
    "tokens/s": lambda row: f"{row['tokens_per_second']:.0f}",
    "over plain": lambda row: shown_with_spread(row, "speedup", unit="x"),
    "over one draft": lambda row: shown(row["over_single_draft"], "{:.3f}x"),
    "same": lambda row: yes_no(row["identical"]),
}


@dataclass
class _Cell:
    """One method at one batch size."""

    tally: Tally = field(default_factory=Tally)
    rounds: list[StepTimes] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # tokens a second, a round each
    drafts: int = 0


@dataclass(frozen=True)
class _Round:
    """Requests that decode together, with the target's own answers by request id."""

    prompts: Mapping[str, list[int]]
    routed: Mapping[str, str | None]
    answers: Mapping[str, list[int]]


def run_step(
    config: Path | None,
    source: Path | None,
    batches: Sequence[int],
    num_draft_tokens: int,
    alpha: float,
    steps: int,
    repeats: int,
) -> Report:
    """Time ``steps`` steps of full batches: plain, routed, and one draft or all drafts mixed at equal acceptance.

    ``routed`` is what serving does, with the lengths that the deployment says. ``single`` and ``mixed`` propose
    ``num_draft_tokens`` tokens, each right with chance ``alpha`` (`ForcedDrafter`) by the same throws of the
    dice, so that both emit the same tokens in the same steps and differ in nothing but the number of drafts.
    Prompts are read before the clock starts; every round has other prompts.

    Raises:
        ConfigError: a batch that the deployment has no slots for, or too few prompts.
    """
    bench = open_workbench(config)
    if max(batches) > bench.plan.slots:
        raise ConfigError(f"this deployment has {bench.plan.slots} slots, not {max(batches)}", do="raise target.slots")
    if not 1 <= num_draft_tokens <= MAX_DRAFT_TOKENS:
        raise ConfigError(f"--num-draft-tokens {num_draft_tokens} is not 1 to {MAX_DRAFT_TOKENS}")
    cells = {(batch, method): _Cell() for batch in sorted(batches) for method in METHODS}
    with Progress(transient=True) as progress:
        task = progress.add_task("step", total=repeats * len(cells))
        for turn, prepared in enumerate(_rounds(bench, source, max(batches), steps, repeats)):
            for batch in batches:
                for method in METHODS[turn % len(METHODS) :] + METHODS[: turn % len(METHODS)]:
                    _measure(bench, cells[batch, method], prepared, batch, method, num_draft_tokens, alpha, steps)
                    progress.advance(task)
    return Report(
        name="step",
        command=command_line(
            "step",
            prompts=source,
            config=config,
            batches=list(batches),
            num_draft_tokens=num_draft_tokens,
            alpha=alpha,
            steps=steps,
            repeats=repeats,
        ),
        rows=[_row(batch, method, cells) for batch, method in cells],
        columns=COLUMNS,
        draw=draw_step,
        notes=[f"single and mixed propose {num_draft_tokens} tokens, right with chance {alpha:g} by the same dice."],
    )


def _rounds(bench: Workbench, source: Path | None, size: int, steps: int, repeats: int) -> list[_Round]:
    """Prompts with the longest answers of twice as many: what follows an end token is too easy to foresee."""
    longest = bench.lengths.longest if isinstance(bench.lengths, LengthController) else bench.lengths
    tokens = (steps + 3) * (max(longest, MAX_DRAFT_TOKENS) + 1)
    prompts = load_prompts(source, 2 * size * repeats)[: 2 * size * repeats]
    if len(prompts) < size * repeats:
        raise ConfigError(
            f"{len(prompts)} prompts cannot fill {repeats} rounds of {size}", do="pass --prompts, or lower --repeats"
        )
    encoded = [bench.encode(prompt.text) for prompt in prompts]
    room = bench.plan.max_length - max(map(len, encoded))
    if room < tokens:
        raise ConfigError(f"{steps} steps may need {tokens} tokens; there is room for {room}", do="lower --steps")
    sampling = SamplingParams(max_tokens=tokens)
    requests = [bench.request(number, token_ids, None, sampling) for number, token_ids in enumerate(encoded)]
    bench.decode(requests)
    answers = [request.generated for request in requests]
    order = sorted(range(len(prompts)), key=lambda number: -_natural_length(answers[number], bench.plan.end_token_ids))
    rounds = []
    for turn in range(repeats):
        chosen = order[turn : size * repeats : repeats]
        rounds.append(
            _Round(
                prompts={str(number): encoded[number] for number in chosen},
                routed={str(number): bench.routed(prompts[number].text) for number in chosen},
                answers={str(number): answers[number] for number in chosen},
            )
        )
    return rounds


def _natural_length(answer: Sequence[int], end_token_ids: frozenset[int]) -> int:
    """Tokens before the first end token."""
    return next((place for place, token in enumerate(answer) if token in end_token_ids), len(answer))


def _measure(
    bench: Workbench,
    cell: _Cell,
    prepared: _Round,
    batch: int,
    method: str,
    num_draft_tokens: int,
    alpha: float,
    steps: int,
) -> None:
    names = [name for name in bench.plan.drafts if name != GENERAL]
    chosen: dict[str, str | None] = {
        request_id: {
            "plain": None,
            "routed": prepared.routed[request_id],
            "single": GENERAL,
            "mixed": names[number % len(names)] if names else GENERAL,
        }[method]
        for number, request_id in enumerate(list(prepared.prompts)[:batch])
    }
    sampling = SamplingParams(max_tokens=len(next(iter(prepared.answers.values()))))
    requests = [
        bench.request(int(request_id), prepared.prompts[request_id], name, sampling, may_copy=True)
        for request_id, name in chosen.items()
    ]
    drafters: dict[str, Drafter] = dict(bench.pool)
    if method in ("single", "mixed"):
        models = {name: bench.draft_model(name) for name in chosen.values() if name is not None}
        drafters = {name: ForcedDrafter(model, alpha, prepared.answers) for name, model in models.items()}
        loop = make_loop(bench.target, drafters, num_draft_tokens)
    else:
        loop = make_loop(bench.target, drafters, bench.lengths, companion=LOOKUP if bench.plan.prompt_lookup else None)
    cell.drafts = len(set(chosen.values()) - {None})
    _run(loop, requests, steps)
    for request in requests:
        cell.tally.add(request, prepared.answers[request.request_id][: len(request.generated)])
    cell.rounds.append(loop.times)
    cell.rates.append(sum(request.counts.num_generated_tokens for request in requests) / loop.times.total)


def _run(loop: StepLoop, requests: Sequence[Request], steps: int) -> None:
    """Leave times and counts of exactly ``steps`` steps of the whole batch behind."""
    for request in requests:
        loop.admit(request)
    while not all(request.generated for request in requests):
        loop.step()
    loop.step()  # drafts read the prompts
    loop.times = StepTimes()
    for request in requests:
        request.counts = type(request.counts)()
    for _ in range(steps):
        loop.step()
    for request in requests:
        loop.cancel(request.request_id)


def _row(batch: int, method: str, cells: Mapping[tuple[int, str], _Cell]) -> Row:
    cell, plain, single = (cells[batch, name] for name in (method, "plain", "single"))
    cell.tally.speedups = [ours / theirs for ours, theirs in zip(cell.rates, plain.rates, strict=True)]
    milliseconds = [times.total / times.num_steps * 1e3 for times in cell.rounds]
    singly = [times.total / times.num_steps * 1e3 for times in single.rounds]
    return {
        "topic": "all",
        "method": method,
        "concurrency": batch,
        "drafts": cell.drafts,
        **cell.tally.row(),
        **with_spread("step_ms", milliseconds),
        **{
            f"{part}_ms": median(getattr(times, part) / times.num_steps * 1e3 for times in cell.rounds)
            for part in _PARTS
        },
        "other_share": median(times.other / times.total for times in cell.rounds),
        "tokens_per_second": median(cell.rates),
        "over_single_draft": median(a / b for a, b in zip(milliseconds, singly, strict=True))
        if method == "mixed"
        else None,
    }
