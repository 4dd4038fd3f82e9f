"""The command line: one Typer app; every heavy import inside its command."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from commands import (
    bench,
    bench_router,
    distill,
    draft,
    gate,
    learn,
    registry,
    replay,
    route,
    router,
    router_training,
    selfcheck,
    topics,
    traces,
)
from commands.experiment import experiment
from commands.options import AsJson, Output
from configs.console import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_NO,
    emit,
    hint,
    show_error,
    table,
)
from configs.errors import PolydraftError

app = typer.Typer(
    name="polydraft",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Serve one language model faster with small drafts that each know one topic.",
)
starter_app = typer.Typer(no_args_is_help=True, help="The small models that come with polydraft.")
config_app = typer.Typer(no_args_is_help=True, help="Deployment files.")
help_app = typer.Typer(no_args_is_help=True, help="More to read.")
for name, group in {
    "registry": registry.app,
    "starter": starter_app,
    "bench": bench.app,
    "draft": draft.app,
    "gate": gate.app,
    "router": router.app,
    "topics": topics.app,
    "traces": traces.app,
    "config": config_app,
    "help": help_app,
}.items():
    app.add_typer(group, name=name)
app.command()(distill.distill)
app.command()(experiment)
app.command()(learn.learn)
app.command()(replay.replay)
app.command()(route.route)
app.command()(selfcheck.selfcheck)
bench.app.command("router-latency")(bench_router.router_latency)
bench.app.command("router-retrain")(bench_router.router_retrain)
for name, command in router_training.COMMANDS.items():
    router.app.command(name)(command)


@app.callback()
def common(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say why.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options of every command."""
    level = logging.ERROR if quiet else logging.INFO if verbose or debug else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(message)s")


@app.command()
def serve(
    config: Annotated[Path | None, typer.Argument(help="Deployment file; without it, the starter.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Serve a deployment over the OpenAI API."""
    from serving.config import deployment_of
    from serving.server import serve as run

    deployment = deployment_of(config)
    place = f"http://{host or deployment.serving.host}:{port or deployment.serving.port}"
    run(deployment, host, port, lambda: hint(f"Serving {deployment.model_name} on {place}/v1; stop it with Ctrl-C"))


@app.command()
def demo(as_json: AsJson = False, output: Output = None) -> None:
    """Ask a real server seven questions, with and without speculation, and show what happened."""
    from benchmarks.demo import run_demo, show_demo

    report = run_demo()
    if as_json or output:
        emit(report.rows, output)
    if not as_json:
        show_demo(report)
    raise typer.Exit(0 if all(row["identical"] for row in report.rows) else EXIT_NO)


@starter_app.command("build")
def starter_build(
    data: Annotated[Path | None, typer.Option(help="Folder of JSON lines; without it, the Hugging Face hub.")] = None,
    work: Annotated[Path, typer.Option(help="Where checkpoints and results are kept; run again to resume.")] = Path(
        "out/starter"
    ),
    epochs: Annotated[float, typer.Option(help="Passes of the target over the data.")] = 3.0,
    quick: Annotated[bool, typer.Option(help="Tiny models in a minute, to try the recipe.")] = False,
) -> None:
    """Train the starter from open data: target, drafts and router; resumable at any moment."""
    from training.starter.build import build

    logging.getLogger().setLevel(logging.INFO)
    hint(f"Starter is in {build(data, work, epochs=epochs, quick=quick)}")


@config_app.command("check")
def config_check(file: Path) -> None:
    """Print the resolved deployment, or say what is wrong with it, line by line."""
    from serving.config import load_deployment

    sys.stdout.write(load_deployment(file).to_yaml())


@help_app.command("exit-codes")
def help_exit_codes() -> None:
    """What the exit code of every command means."""
    table(
        ["code", "meaning"],
        [
            ["0", "yes"],
            ["1", "ran well, and the answer is no: a mismatch, not better, not ready"],
            ["2", "error: usage, configuration, files, network"],
            ["130", "interrupted"],
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``polydraft`` command."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app(words, prog_name="polydraft")
    except PolydraftError as error:
        if "--debug" in words:
            raise
        show_error(error, as_json="--json" in words)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        hint("interrupted")
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
