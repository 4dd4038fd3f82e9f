"""`polydraft distill`: train a draft of one topic from the target's own answers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import AsJson, ConfigFile, Output
from configs.background import stand_back
from configs.console import emit, hint, table
from configs.errors import ConfigError

if TYPE_CHECKING:
    from registry.store import Registry
    from serving.config import Deployment
    from training.distillation.job_description import Result
    from training.distillation.parent import Parent


def distill(
    topic: Annotated[str, typer.Option(help="What the draft is for; a new topic goes on from the general draft.")],
    data: Annotated[
        Path | None, typer.Option(help="JSON lines with prompt (and response, topic, split); the target answers them.")
    ] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder of recorded answers.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Version to go on from, such as sql@v3.")] = None,
    work: Annotated[Path | None, typer.Option(help="Checkpoints; the same command goes on from them.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="topic | again (from a draft of the topic, by default) | fastdraft")
    ] = None,
    source: Annotated[
        str, typer.Option(help="Who writes: teacher | data | student | mixed-request | mixed-token.")
    ] = "teacher",
    rounds: Annotated[
        int, typer.Option(help="How often the draft's own share is written, each time by the draft as it is by then.")
    ] = 1,
    positions: Annotated[str, typer.Option(help="Of traces: all (wrong ones count twice) | wrong.")] = "all",
    loss: Annotated[
        str | None,
        typer.Option(help="lk | tvd | jsd (jsd:0.1 sets beta) | forward_kl | reverse_kl | argmax; of the last stage."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the last stage.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the last stage.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the last stage.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="120 prompts and 24 steps a stage, to try it.")] = False,
    register: Annotated[bool, typer.Option(help="Register the result as challenger.")] = True,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda")] = "auto",
    background: Annotated[bool, typer.Option("--background", help="One thread, in time nobody else wants.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Distil a draft, measure it on prompts it has not seen, register it as challenger; resumable at any moment."""
    if background:
        stand_back()
    import torch

    if background:
        torch.set_num_threads(1)
    from registry.names import draft_model
    from training.distillation.job import run_job
    from training.distillation.job_description import Job
    from training.distillation.presets import PRESETS
    from training.distillation.sequences import SOURCES

    _one_of("--preset", preset or "topic", tuple(PRESETS))
    _one_of("--source", source, SOURCES)
    _one_of("--positions", positions, ("all", "wrong"))
    _one_of("--device", device, ("auto", "cpu", "cuda"))
    deployment, target, parent, registry = _resolved(config, topic, from_)
    name = preset or ("again" if parent.number_in(draft_model(deployment.name, topic)) else "topic")
    whole = PRESETS[name].quick() if quick else PRESETS[name]
    chosen = whole.with_last(loss=loss, steps=steps, learning_rate=learning_rate, seed=seed)
    job = Job(
        deployment=deployment.name,
        topic=topic,
        target=target,
        parent=parent,
        work=work or Path(),
        preset_name=name,
        preset=chosen,
        data=data,
        traces=traces,
        source=source,  # type: ignore[arg-type]
        rounds=rounds,
        wrong_only=positions == "wrong",
        limit=120 if quick else None,
        answer_tokens=64 if quick else 160,
        max_length=deployment.target.max_length,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        command=" ".join(["polydraft", *sys.argv[1:]]),
        config=deployment.model_dump(mode="json"),
    )
    found = run_job(job if work else job.in_own_folder(Path("out/distill")), registry if register else None)
    _show(found, traces, data, as_json, output)


def _resolved(config: Path | None, topic: str, wanted: str | None) -> "tuple[Deployment, Path, Parent, Registry]":
    """A deployment, its target's folder, the draft to go on from, and the registry."""
    from drafts.pool import GENERAL
    from serving.config import deployment_of
    from serving.deployment import Resolver, open_registry
    from training.distillation.parent import find_parent

    deployment = deployment_of(config)
    resolver, registry = Resolver(deployment), open_registry(deployment)
    sources = {name: each.model for name, each in deployment.drafts.topics.items()}
    if deployment.drafts.general is not None:
        sources[GENERAL] = deployment.drafts.general.model
    parent = find_parent(
        registry, deployment.name, topic, wanted, sources, lambda reference: resolver.resolve(reference, topic).folder
    )
    target = resolver.resolve(deployment.target.model, "target", deployment.target.revision).folder
    return deployment, target, parent, registry


def _one_of(option: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ConfigError(f"{option} {word} is unknown", do=f"use one of {', '.join(known)}")


def _show(found: "Result", traces: Path | None, data: Path | None, as_json: bool, output: Path | None) -> None:
    if as_json or output:
        emit(vars(found), output)
    if as_json:
        return
    rows = [
        [name, f"{found.before[key]:.3f}", f"{found.now[key]:.3f}"]
        for name, key in (("alpha, temperature 0", "alpha_t0"), ("alpha, temperature 1", "alpha_t1"))
    ]
    table(["held-out text", found.parent, found.version or "new"], rows)
    if found.version is None:
        hint(f"Draft is in {found.folder}; nothing was registered")
    else:
        held_out = f"--data {data}" if traces is None else f"--traces {traces}"
        hint(
            f"Registered {found.version} as challenger. Next: polydraft gate judge {found.version} {held_out} --promote"
        )
