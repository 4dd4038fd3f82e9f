"""`polydraft replay`: what drafts would have cost on recorded answers, by topic, from their text alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.replay_table import COLUMNS, LONGEST, TEMPERATURE_COLUMNS, draw_replay
from benchmarks.results import Report, Row
from configs.console import hint
from configs.errors import ConfigError, IncompatibleDraft
from decoding.checkpoint import fingerprint, read_config
from decoding.config import ModelConfig
from decoding.costs import StepCosts, measure_costs
from decoding.load import load_draft, load_model
from decoding.model import LanguageModel
from decoding.trace import SpeculationTrace
from decoding.trace_reader import TraceReader
from drafts.compatibility import check_draft
from registry.report import find_version
from serving.config import Deployment, deployment_of
from serving.deployment import Resolved, Resolver, open_registry
from training.replay import acceptances, tokens_per_target_run
from training.replay.summary import ALL_TOPICS, summarise
from training.replay.temperature import fit_draft_temperature

_SLOTS = 16


@dataclass(frozen=True, slots=True)
class GivenCosts:
    """Costs in target runs over one row that take the place of measured ones.

    Attributes:
        draft_step: c; None is measured.
        target_runs: w of 1, 2, 3 and so on rows; None is measured.
    """

    draft_step: float | None = None
    target_runs: Sequence[float] | None = None

    @property
    def is_complete(self) -> bool:
        """Nothing is left to measure."""
        return self.draft_step is not None and self.target_runs is not None


class _Prices:
    """What decoding with each draft costs: what is given, else measured.

    Target runs are measured once and drafts once a shape, so that two drafts are compared by what they say, not by
    what else the machine did.
    """

    def __init__(self, given: GivenCosts, target: LanguageModel | None):
        self._given, self._target = given, target
        self._runs = None if given.target_runs is None else dict(enumerate(given.target_runs, start=1))
        self._steps: dict[ModelConfig, float] = {}

    def of(self, draft: LanguageModel) -> StepCosts:
        step = self._given.draft_step
        if self._runs is None or (step is None and _shape(draft) not in self._steps):
            assert self._target is not None
            measured, _ = measure_costs(self._target, draft)
            self._runs = self._runs or dict(measured.target)
            self._steps[_shape(draft)] = measured.draft_step(1)
        return StepCosts(self._runs, {1: self._steps[_shape(draft)] if step is None else step})


def _shape(draft: LanguageModel) -> ModelConfig:
    """Which tokens a trimmed head has changes nothing, how many does."""
    kept = draft.config.output_token_ids
    return replace(draft.config, output_token_ids=None if kept is None else tuple(range(len(kept))))


def run_replay(
    config: Path | None,
    folder: Path | None,
    drafts: Sequence[str],
    topics: Sequence[str] = (),
    given: GivenCosts | None = None,
    fit_temperature: bool = False,
) -> Report:
    """Replay each draft over the traces of ``folder`` that the deployment's target has written.

    Args:
        folder: of traces; None takes the deployment's.
        drafts: ``sql``, ``sql@v3``, or a folder.
        topics: only these; all without any.
        fit_temperature: fit each draft's temperature on every other drawn answer, and say what it gains on the rest.

    Raises:
        ConfigError: no traces to replay.
        IncompatibleDraft: a draft was made for another target or tokenizer.
        RegistryError, CheckpointError: there is no such draft.
    """
    torch.set_num_threads(1)
    given = given or GivenCosts()
    deployment = deployment_of(config)
    target = Resolver(deployment).resolve(deployment.target.model, "target", deployment.target.revision).folder
    wanted = fingerprint(target)
    traces = _traces(folder or deployment.traces.path(deployment.name), topics, wanted)
    found = [_find(deployment, name) for name in dict.fromkeys(drafts)]
    for draft in found:
        _check(draft, target, wanted)
    longest = max(len(trace.token_ids) for trace in traces)
    prices = _Prices(given, None if given.is_complete else load_model(target, _SLOTS, deployment.target.max_length))
    rows: list[Row] = []
    for draft in found:
        model = load_draft(draft.folder, _SLOTS, max(longest, deployment.target.max_length))
        costs = prices.of(model)
        added = {"c": costs.draft_step(1), "w": [costs.target_run(rows_) for rows_ in range(1, LONGEST + 2)]}
        if fit_temperature:
            added |= _fitted(model, traces)
        summary = summarise(draft.label, traces, acceptances(model, traces), LONGEST, costs)
        rows += [{**row, **added} for row in summary]
    rows.sort(key=lambda row: (row["topic"] == ALL_TOPICS, row["topic"]))
    return Report(
        name="replay",
        command=_command(config, folder, drafts, topics, given, fit_temperature),
        rows=rows,
        columns={**COLUMNS, **(TEMPERATURE_COLUMNS if fit_temperature else {})},
        draw=draw_replay,
        notes=[
            "alpha and tokens/run are exact given the text; ± is half a 95 % bootstrap interval over requests",
            f"costs are {'given' if given.is_complete else 'measured here'}: best k and speed-up follow from them",
        ],
    )


def _traces(folder: Path, topics: Sequence[str], target: str) -> list[SpeculationTrace]:
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder} of traces", do="serve with traces.enabled: true, or pass --traces DIR")
    number = sum(1 for _ in TraceReader(folder, topics or None).entries())
    traces = list(TraceReader(folder, topics or None, target))
    exact = [trace for trace in traces if trace.sampling.lossy is None]
    if len(exact) < number:
        others = f"{number - len(traces)} of another target"
        hint(f"{number} traces; left out: {others}, {len(traces) - len(exact)} under a lossy rule or damaged")
    if not exact:
        about = f" about {', '.join(topics)}" if topics else ""
        raise ConfigError(
            f"{folder} has no traces of this deployment's target{about}",
            do="serve with traces.enabled: true and send requests, or pass another --traces DIR",
            facts=(f"target {target[:8]}; {number} traces in all",),
        )
    return exact


def _find(deployment: Deployment, name: str) -> Resolved:
    """A folder, or a version of the registry."""
    path = Path(name).expanduser()
    if (path / "config.json").is_file() or name.startswith(("/", ".", "~")):
        return Resolver(deployment).resolve(name, path.resolve().name)
    registry = open_registry(deployment)
    _, version = find_version(registry, deployment.name, name)
    version = registry.resolve(f"registry://{version.model}@v{version.version}")
    return Resolved(version.folder, version.label, version.tags)


def _check(draft: Resolved, target: Path, target_fingerprint: str) -> None:
    check_draft(draft.folder, target, draft.tags, label=draft.label, target_fingerprint=target_fingerprint)
    ours, theirs = read_config(target).vocab_size, read_config(draft.folder).vocab_size
    if ours != theirs:
        what = f"{draft.label} has {theirs} token embeddings, the target {ours}"
        raise IncompatibleDraft(what, do="distil the draft for this target")


def _fitted(model: LanguageModel, traces: Sequence[SpeculationTrace]) -> Row:
    """Temperature fitted on every other drawn answer, gain on the rest; None where too few were drawn."""
    drawn = [trace for trace in traces if not trace.sampling.is_greedy]
    if len(drawn) < 2:
        return {"draft_temperature": None, "draft_temperature_gain": None}
    fitted = fit_draft_temperature(model, drawn[::2]).temperature
    before, after = (float(tokens_per_target_run(acceptances(model, drawn[1::2], t), 4)[-1]) for t in (1.0, fitted))
    return {"draft_temperature": fitted, "draft_temperature_gain": after / before - 1}


def _command(
    config: Path | None,
    folder: Path | None,
    drafts: Sequence[str],
    topics: Sequence[str],
    given: GivenCosts,
    fit_temperature: bool,
) -> str:
    words = [
        "polydraft replay",
        *([f"--traces {folder.name}"] if folder else []),
        *(f"--draft {Path(name).name}" for name in drafts),
    ]
    words += [f"--topic {topic}" for topic in topics]
    if given.draft_step is not None:
        words.append(f"--c {given.draft_step:g}")
    if given.target_runs is not None:
        words.append(f"--w {','.join(f'{each:g}' for each in given.target_runs)}")
    words += ["--fit-temperature"] * fit_temperature + ([f"--config {config.name}"] if config else [])
    return " ".join(words)
