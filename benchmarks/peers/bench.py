"""`polydraft bench peers`: the same checkpoints, prompts and lengths in other engines, and here, side by side."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.progress import Progress

from benchmarks.peers.environments import ENVIRONMENTS, PEERS, prepare
from benchmarks.peers.process import PeerProcess
from benchmarks.peers.worker import Decoded, Job
from benchmarks.pictures import draw_peers
from benchmarks.prompts import WARM_UP, Prompt, in_blocks, load_prompts
from benchmarks.results import Report, Row, command_line, shown, shown_with_spread, with_spread, yes_no
from benchmarks.workbench import Workbench, open_workbench
from configs.errors import ConfigError, PeerError
from decoding.checkpoint import fingerprint
from decoding.request import SamplingParams
from decoding.turn import StepTimes
from drafts.pool import GENERAL

OURS = "polydraft"
_WARM_TOKENS = 16

COLUMNS = {
    "engine": lambda row: row["engine"],
    "version": lambda row: row["version"],
    "method": lambda row: row["method"],
    "k": lambda row: shown(row["num_draft_tokens"], "{}"),
    "tokens": lambda row: str(row["tokens"]),
    "tokens/run": lambda row: shown(row["tokens_per_target_run"]),
    "tokens/s": lambda row: shown_with_spread(row, "tokens_per_second", "{:.0f}"),
    "over its plain": lambda row: shown_with_spread(row, "speedup", unit="x"),
    "our best over this": lambda row: shown_with_spread(row, "our_best_over_this", unit="x"),
    "same as ours": lambda row: yes_no(row["identical"]),
}


@dataclass(frozen=True)
class Mode:
    """One way of decoding: an engine and a proposal length, 0 for plain, None for its own choice."""

    engine: str
    num_draft_tokens: int | None
    copies: bool = False

    @property
    def method(self) -> str:
        if self.copies:
            return "lookup"
        own = "routed" if self.engine == OURS else "own length"
        return {0: "plain", None: own}.get(self.num_draft_tokens, "pooled")


def modes_of(name: str, lengths: Sequence[int]) -> list[Mode]:
    """All that a peer can do: plain, the general draft at each length and at its own, copies from the text."""
    peer = PEERS[name]
    own = [Mode(name, None)] if peer.has_own_length else []
    copying = [Mode(name, length, copies=True) for length in lengths] if peer.can_copy else []
    return [*(Mode(name, length) for length in (0, *lengths)), *own, *copying]


@dataclass
class Result:
    """What one mode did: counts over all, rates block by block."""

    tokens: int = 0
    target_runs: int = 0
    differing: int = 0
    rates: list[float] = field(default_factory=list)  # tokens a second

    def add_block(self, answers: Sequence[Decoded]) -> None:
        """Count the answers of one block."""
        tokens = sum(len(answer.token_ids) for answer in answers)
        self.tokens += tokens
        self.target_runs += sum(answer.num_target_runs or 0 for answer in answers)
        self.rates.append(tokens / sum(answer.seconds for answer in answers))


@dataclass(frozen=True)
class Question:
    """A prompt, and how many tokens every engine answers."""

    prompt: Prompt
    token_ids: list[int]
    tokens: int


Decode = Callable[[Question, Mode], Decoded]


def run_peers(
    config: Path | None,
    source: Path | None,
    names: Sequence[str],
    lengths: Sequence[int],
    requests: int,
    tokens: int,
    repeats: int,
    folder: Path = ENVIRONMENTS,
) -> Report:
    """Decode every prompt in every engine, modes in turn, in ``repeats`` blocks of different prompts.

    Batch 1, greedy, float32 (our drafts: weights in bytes), one thread; seconds hold the prompt too. Every answer ends
    where ours ends by itself, before its end token, or after ``tokens`` tokens: engines disagree about what follows.
    Every engine drafts with the general draft, at each of ``lengths`` and, where it has a rule for that, at lengths of
    its own, and copies from the text where it can; ours also as it serves: routed, with lengths of its own choice.

    Args:
        folder: of the peers' environments, which are made where they are missing.

    Raises:
        ConfigError: an unknown peer, or too few prompts.
    """
    _check_names(names)
    prompts = load_prompts(source, requests)[:requests]
    if repeats < 1 or len(prompts) < repeats:
        raise ConfigError(f"{len(prompts)} prompts cannot make {repeats} blocks", do="pass a larger --requests")
    bench = open_workbench(config)
    questions = [question for prompt in prompts if (question := _question(bench, prompt, tokens)).tokens]
    with ExitStack() as stack:
        peers, missing = _start(stack, bench, names, lengths, folder)
        results, times = _compare(bench, peers, questions, lengths, repeats)
    rows = peer_rows(results)
    return Report(
        name="peers",
        command=command_line(
            "peers",
            prompts=source,
            config=config,
            peers=list(names),
            num_draft_tokens=list(lengths),
            requests=requests,
            tokens=tokens,
            repeats=repeats,
        ),
        rows=rows,
        columns=COLUMNS,
        draw=draw_peers,
        notes=[*verdicts(rows), *(_profile(mode, spent) for mode, spent in times.items()), *missing.values()],
        facts={"unavailable": missing},
    )


def _check_names(names: Sequence[str]) -> None:
    unknown = next((name for name in names if name not in PEERS), None)
    if unknown is not None:
        raise ConfigError(f"{unknown} is no peer", do=f"--peers {','.join(PEERS)}")


def _start(
    stack: ExitStack, bench: Workbench, names: Sequence[str], lengths: Sequence[int], folder: Path
) -> tuple[dict[str, PeerProcess], dict[str, str]]:
    """The peers that answer a first prompt in every mode, and why the others do not."""
    target, draft = bench.plan.target, bench.plan.drafts[GENERAL].folder
    work = folder / "models" / f"{fingerprint(target)[:12]}-{fingerprint(draft)[:12]}"
    job = Job(
        target=str(target.resolve()),
        draft=str(draft.resolve()),
        lengths=list(lengths),
        max_length=bench.plan.max_length,
        threads=1,
        work=str(work.resolve()),
    )
    running: dict[str, PeerProcess] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            python = prepare(PEERS[name], folder)
            peer = PeerProcess(PEERS[name], python, job, folder / f"{name}.log")
            stack.callback(peer.close)
            for mode in modes_of(name, lengths):  # which also warms it up
                peer.decode(bench.encode(WARM_UP.text), _WARM_TOKENS, mode.num_draft_tokens, mode.copies)
            running[name] = peer
        except PeerError as error:
            missing[name] = str(error)
    return running, missing


def _question(bench: Workbench, prompt: Prompt, tokens: int) -> Question:
    token_ids = bench.encode(prompt.text)
    request = bench.request(0, token_ids, None, SamplingParams(max_tokens=tokens))
    bench.decode([request])
    ends = [place for place, token in enumerate(request.generated) if token in bench.plan.end_token_ids]
    return Question(prompt, token_ids, ends[0] if ends else tokens)


def _decode_here(bench: Workbench, question: Question, mode: Mode) -> Decoded:
    serving = mode.method == "routed"
    drafter = bench.routed(question.prompt.text) if serving else GENERAL if mode.num_draft_tokens else None
    sampling = SamplingParams(max_tokens=question.tokens)
    request = bench.request(0, question.token_ids, drafter, sampling, may_copy=serving)
    request.num_draft_tokens = mode.num_draft_tokens
    seconds = bench.decode([request])
    return Decoded(request.generated, seconds, request.counts.num_target_runs)


def _compare(
    bench: Workbench,
    peers: Mapping[str, PeerProcess],
    questions: Sequence[Question],
    lengths: Sequence[int],
    repeats: int,
) -> tuple[dict[Mode, Result], dict[Mode, StepTimes]]:
    """What every mode did, ours and the peers', after a first question to warm ours up; and where our time went."""
    times = {Mode(OURS, length): StepTimes() for length in (0, *lengths, None)}
    modes = [*times, *(mode for name in peers for mode in modes_of(name, lengths))]

    def decode(question: Question, mode: Mode) -> Decoded:
        if mode.engine in peers:
            return peers[mode.engine].decode(question.token_ids, question.tokens, mode.num_draft_tokens, mode.copies)
        bench.times = times[mode]
        return _decode_here(bench, question, mode)

    for mode in times:
        decode(questions[0], mode)
    times.update((mode, StepTimes()) for mode in times)
    return _measure(decode, modes, questions, repeats), times


def _measure(decode: Decode, modes: Sequence[Mode], questions: Sequence[Question], repeats: int) -> dict[Mode, Result]:
    results = {mode: Result() for mode in modes}
    with Progress(transient=True) as progress:
        task = progress.add_task("peers", total=len(questions))
        for block in in_blocks([question.prompt for question in questions], repeats):
            spent: dict[Mode, list[Decoded]] = {mode: [] for mode in modes}
            for number in block:
                start = number % len(modes)
                for mode in (*modes[start:], *modes[:start]):
                    spent[mode].append(decode(questions[number], mode))
                reference = spent[Mode(OURS, 0)][-1].token_ids
                for mode in modes:
                    results[mode].differing += spent[mode][-1].token_ids != reference
                progress.advance(task)
            for mode, answers in spent.items():
                results[mode].add_block(answers)
    return results


def peer_rows(results: Mapping[Mode, Result]) -> list[Row]:
    """A row a mode; ratios are taken block by block."""
    ours = [result.rates for mode, result in results.items() if mode.engine == OURS and mode.method != "plain"]
    best = max(ours, key=median)
    rows = []
    for mode, result in results.items():
        plain = results[Mode(mode.engine, 0)]
        rows.append(
            {
                "topic": "all",
                "engine": mode.engine,
                "version": PEERS[mode.engine].version if mode.engine in PEERS else "-",
                "method": mode.method,
                "concurrency": 1,
                "num_draft_tokens": mode.num_draft_tokens or None,
                "tokens": result.tokens,
                "tokens_per_target_run": result.tokens / result.target_runs if result.target_runs else None,
                **with_spread("tokens_per_second", result.rates),
                **with_spread("speedup", _ratios(result.rates, plain.rates)),
                **with_spread("our_best_over_this", _ratios(best, result.rates)),
                "identical": result.differing == 0,
            }
        )
    return rows


def _ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [this / that for this, that in zip(these, those, strict=True)]


def verdicts(rows: Sequence[Row]) -> list[str]:
    """For every peer, whether our best speculative mode is ahead of its best mode, and by how much."""
    lines = []
    for engine in dict.fromkeys(row["engine"] for row in rows if row["engine"] != OURS):
        best = max((row for row in rows if row["engine"] == engine), key=lambda row: row["tokens_per_second"])
        ratio = best["our_best_over_this"]
        length = f", k = {best['num_draft_tokens']}" if best["num_draft_tokens"] else ""
        side = "ahead of" if ratio > 1 else "behind"
        lines.append(f"{ratio:.2f}x: {side} {PEERS[engine].title} at its best ({best['method']}{length}).")
    return lines


def _profile(mode: Mode, times: StepTimes) -> str:
    parts = ", ".join(f"{part} {getattr(times, part) / times.total:.0%}" for part in ("target", "draft", "other"))
    length = f", k = {mode.num_draft_tokens}" if mode.num_draft_tokens else ""
    return f"Where our time goes, {mode.method}{length}: {parts}."
