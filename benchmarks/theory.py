"""`polydraft bench theory`: speed-up at a forced acceptance against the cost model, in the form of Liu et al. 2024.

A table of measured and theoretical times by alpha is how "Online Speculative Decoding" checks its model.
The runs are on the CPU that the deployment runs on; nothing here stands for another machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from rich.progress import Progress

from benchmarks.forced import ForcedDrafter
from benchmarks.pictures import draw_theory
from benchmarks.prompts import in_blocks, load_prompts
from benchmarks.results import Report, Row, command_line, shown_with_spread, with_spread, yes_no
from benchmarks.tally import Tally
from benchmarks.workbench import Workbench, open_workbench
from configs.errors import ConfigError
from decoding.costs import StepCosts
from decoding.device.loop import make_loop
from decoding.proposal import MAX_DRAFT_TOKENS
from decoding.request import SamplingParams
from drafts.pool import GENERAL

_PLAIN = 0.0  # key of the plain runs

COLUMNS = {
    "alpha": lambda row: f"{row['forced_alpha']:.2f}",
    "k": lambda row: str(row["num_draft_tokens"]),
    "tokens/run expected": lambda row: f"{row['expected_tokens_per_target_run']:.2f}",
    "counted": lambda row: f"{row['tokens_per_target_run']:.2f}",
    "c": lambda row: f"{row['c']:.3f}",
    "w(k+1)": lambda row: f"{row['w']:.2f}",
    "predicted": lambda row: f"{row['predicted_speedup']:.2f}x",
    "measured": lambda row: shown_with_spread(row, "speedup", unit="x"),
    "measured / predicted": lambda row: f"{row['measured_over_predicted']:.3f}",
    "same": lambda row: yes_no(row["identical"]),
}


def expected_tokens(alpha: float, length: int) -> float:
    """Tokens a target run with ``length`` proposed: (1 - alpha^(k+1)) / (1 - alpha); Leviathan et al. 2023, eq. 1."""
    return length + 1.0 if alpha == 1 else (1 - alpha ** (length + 1)) / (1 - alpha)


def theoretical_speedup(alpha: float, length: int, costs: StepCosts) -> float:
    """E / (w(k + 1) + c k) at batch 1; with w = 1 it is theorem 3.8 of Leviathan et al. 2023."""
    return expected_tokens(alpha, length) / (costs.target_run(length + 1) + length * costs.draft_step(1))


def best_length(alpha: float, costs: StepCosts) -> int:
    """The length from 1 to `MAX_DRAFT_TOKENS` with the highest `theoretical_speedup`."""
    return max(range(1, MAX_DRAFT_TOKENS + 1), key=lambda length: theoretical_speedup(alpha, length, costs))


@dataclass
class _Timing:
    """Tokens and seconds of the timed part of some decodes."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def run_theory(
    config: Path | None,
    source: Path | None,
    alphas: Sequence[float],
    num_draft_tokens: int | None,
    requests: int,
    tokens: int,
    repeats: int,
) -> Report:
    """Decode ``requests`` prompts plainly and at each alpha, in turn, in ``repeats`` blocks of different prompts.

    Timed are ``tokens`` tokens of each answer, at whole steps and from the third step on: the first reads
    the prompt and the second lets the draft read it. Stop tokens are ignored.

    Args:
        num_draft_tokens: of every proposal; None takes the predicted best for each alpha.

    Raises:
        ConfigError: too few prompts, or an alpha outside [0, 1].
    """
    _check(alphas, num_draft_tokens, requests, repeats)
    bench = open_workbench(config, with_router=False)
    chosen = load_prompts(source, requests)[:requests]
    if len(chosen) < repeats:
        raise ConfigError(f"{len(chosen)} prompts cannot make {repeats} blocks", do="pass a larger --prompts file")
    encoded = {str(number): bench.encode(prompt.text) for number, prompt in enumerate(chosen)}
    costs, target_ms = bench.measure_costs()
    lengths = {alpha: num_draft_tokens or best_length(alpha, costs) for alpha in alphas}
    answers = _answers(bench, encoded, tokens + 2 * (max(lengths.values()) + 1))
    runs = {_PLAIN: 0, **lengths}
    tallies = {alpha: Tally() for alpha in runs}
    with Progress(transient=True) as progress:
        task = progress.add_task("theory", total=len(encoded))
        for block in in_blocks(chosen, repeats):
            timings = {alpha: _Timing() for alpha in runs}
            for number in block:
                order = list(runs)
                for alpha in order[number % len(order) :] + order[: number % len(order)]:
                    name = str(number)
                    _decode(bench, name, encoded[name], answers, alpha, runs[alpha], tokens, timings, tallies)
                progress.advance(task)
            for alpha in alphas:
                tallies[alpha].speedups.append(timings[alpha].rate / timings[_PLAIN].rate)
    return Report(
        name="theory",
        command=command_line(
            "theory",
            prompts=source,
            config=config,
            alphas=list(alphas),
            num_draft_tokens=num_draft_tokens,
            requests=requests,
            tokens=tokens,
            repeats=repeats,
        ),
        rows=[_row(alpha, lengths[alpha], tallies[alpha], costs) for alpha in alphas],
        columns=COLUMNS,
        draw=draw_theory,
        notes=[f"A target run over one row takes {target_ms:.2f} ms. Predicted: E(alpha, k) / (w(k + 1) + c k)."],
        facts={"target_ms": target_ms, "w": {str(rows): cost for rows, cost in costs.target.items()}},
    )


def _check(alphas: Sequence[float], num_draft_tokens: int | None, requests: int, repeats: int) -> None:
    if not alphas or not all(0 < alpha <= 1 for alpha in alphas):
        raise ConfigError("an alpha is a chance above 0 and at most 1", do="--alphas 0.5,0.6,0.7,0.8,0.9")
    if num_draft_tokens is not None and not 1 <= num_draft_tokens <= MAX_DRAFT_TOKENS:
        raise ConfigError(f"--num-draft-tokens {num_draft_tokens} is not 1 to {MAX_DRAFT_TOKENS}")
    if repeats < 1 or requests < repeats:
        raise ConfigError(f"{requests} requests cannot make {repeats} blocks", do="pass a larger --requests")


def _answers(bench: Workbench, encoded: Mapping[str, list[int]], length: int) -> dict[str, list[int]]:
    """What the target says by itself, which also warms everything up."""
    answers = {}
    for name, token_ids in encoded.items():
        request = bench.request(int(name), token_ids, None, SamplingParams(max_tokens=length))
        bench.decode([request])
        answers[name] = request.generated
    return answers


def _decode(
    bench: Workbench,
    name: str,
    token_ids: list[int],
    answers: Mapping[str, list[int]],
    alpha: float,
    length: int,
    tokens: int,
    timings: Mapping[float, _Timing],
    tallies: Mapping[float, Tally],
) -> None:
    drafters = {GENERAL: ForcedDrafter(bench.draft_model(GENERAL), alpha, answers)}
    sampling = SamplingParams(max_tokens=len(answers[name]))
    request = bench.request(int(name), token_ids, GENERAL if length else None, sampling)
    loop = make_loop(bench.target, drafters, length)
    loop.admit(request)
    while not request.generated:
        loop.step()
    loop.step()
    request.counts = type(request.counts)()
    untimed = len(request.generated)
    began = perf_counter()
    while len(request.generated) < untimed + tokens:
        loop.step()
    timings[alpha].seconds += perf_counter() - began
    timings[alpha].tokens += len(request.generated) - untimed
    tallies[alpha].add(request, answers[name][: len(request.generated)])
    loop.cancel(request.request_id)


def _row(alpha: float, length: int, tally: Tally, costs: StepCosts) -> Row:
    predicted = theoretical_speedup(alpha, length, costs)
    speedup = with_spread("speedup", tally.speedups)
    return {
        "topic": "all",
        "method": "forced",
        "concurrency": 1,
        "forced_alpha": alpha,
        "num_draft_tokens": length,
        **tally.row(),
        "expected_tokens_per_target_run": expected_tokens(alpha, length),
        "c": costs.draft_step(1),
        "w": costs.target_run(length + 1),
        "predicted_speedup": predicted,
        "measured_over_predicted": speedup["speedup"] / predicted,
    }
