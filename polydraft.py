"""The command line: one Typer app; every heavy import inside its command."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from configs.console import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_NO,
    emit,
    emit_line,
    hint,
    read_records,
    show_error,
    table,
)
from configs.errors import ConfigError, PolydraftError

if TYPE_CHECKING:
    from benchmarks.results import Report

N = TypeVar("N", int, float)

app = typer.Typer(
    name="polydraft",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Serve one language model faster with small drafts that each know one topic.",
)
registry_app = typer.Typer(no_args_is_help=True, help="Draft versions: list, show, open the MLflow pages.")
starter_app = typer.Typer(no_args_is_help=True, help="The small models that come with polydraft.")
bench_app = typer.Typer(no_args_is_help=True, help="Measure, counts first; every figure can be repeated.")
config_app = typer.Typer(no_args_is_help=True, help="Deployment files.")
help_app = typer.Typer(no_args_is_help=True, help="More to read.")
for name, group in {
    "registry": registry_app,
    "starter": starter_app,
    "bench": bench_app,
    "config": config_app,
    "help": help_app,
}.items():
    app.add_typer(group, name=name)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Deployment file; without it, the starter.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write the JSON document to this file.")]
ReportFolder = Annotated[Path | None, typer.Option("--report", help="Folder for a dated table, picture and document.")]
Prompts = Annotated[Path | None, typer.Option("--prompts", help="JSON lines with prompt and topic; - is stdin.")]


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


@app.command()
def route(
    text: Annotated[str | None, typer.Argument(help="The query.")] = None,
    source: Annotated[Path | None, typer.Option("--input", help="JSON lines with prompt; - is stdin.")] = None,
    config: ConfigFile = None,
) -> None:
    """Say which draft a query gets, as JSON: one document, or one a line for --input."""
    if (text is None) == (source is None):
        raise ConfigError("pass either a query or --input", do='polydraft route "How many singers do we have?"')
    from serving.config import deployment_of
    from serving.routing import open_router

    router = open_router(deployment_of(config))
    if text is not None:
        emit(router.document(text), None)
        return
    assert source is not None
    for record in read_records(source, needed=["prompt"]):
        emit_line({"prompt": record["prompt"], **router.document(record["prompt"])})


@app.command()
def selfcheck(
    prompts: Prompts = None,
    per_topic: Annotated[int, typer.Option(help="Prompts a topic.")] = 50,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt.")] = 128,
    churn: Annotated[int, typer.Option(help="Rounds in which drafts and company change in mid-answer.")] = 1,
    config: ConfigFile = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Compare greedy answers with transformers, token by token, for every way of drafting."""
    from benchmarks.selfcheck import run_selfcheck

    report = run_selfcheck(config, prompts, per_topic, tokens, churn)
    if as_json or output:
        emit(report.document(), output)
    if not as_json:
        table(*report.rows())
    raise typer.Exit(0 if report.passed else EXIT_NO)


@bench_app.command("topics")
def bench_topics(
    prompts: Prompts = None,
    per_topic: Annotated[int, typer.Option(help="Prompts a topic.")] = 16,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt.")] = 96,
    repeats: Annotated[int, typer.Option(help="Interleaved blocks.")] = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Batch 1, greedy, by topic: plain, prompt lookup, and drafts chosen at random, by nobody, routed, in hindsight."""
    from benchmarks.topics import run_topics

    _deliver(run_topics(config, prompts, per_topic, tokens, repeats), report, as_json, output)


@bench_app.command("load")
def bench_load(
    prompts: Prompts = None,
    concurrency: Annotated[str, typer.Option(help="Clients at once, separated by commas.")] = "1,2,4,8,16,32",
    requests: Annotated[int, typer.Option(help="Requests a round.")] = 32,
    tokens: Annotated[int, typer.Option(help="New tokens a request, at most.")] = 96,
    repeats: Annotated[int, typer.Option(help="Rounds, plain and routed in turn.")] = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Many clients of a real server at once: tokens a second, first token, gaps; plain against routed."""
    from benchmarks.load import run_load

    clients = _numbers(int, "--concurrency", concurrency)
    _deliver(run_load(config, prompts, clients, requests, tokens, repeats), report, as_json, output)


@bench_app.command("theory")
def bench_theory(
    prompts: Prompts = None,
    alphas: Annotated[str, typer.Option(help="Forced acceptance, separated by commas.")] = "0.5,0.6,0.7,0.8,0.9",
    num_draft_tokens: Annotated[
        int | None, typer.Option(help="Length of every proposal; without it, the predicted best for each alpha.")
    ] = None,
    requests: Annotated[int, typer.Option(help="Prompts in all.")] = 24,
    tokens: Annotated[int, typer.Option(help="Timed tokens a prompt.")] = 192,
    repeats: Annotated[int, typer.Option(help="Interleaved blocks.")] = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Speed-up at a forced acceptance, at a real draft's cost, against the cost model; on this CPU, batch 1, greedy."""
    from benchmarks.theory import run_theory

    chances = _numbers(float, "--alphas", alphas)
    found = run_theory(config, prompts, chances, num_draft_tokens, requests, tokens, repeats)
    _deliver(found, report, as_json, output)


@bench_app.command("step")
def bench_step(
    prompts: Prompts = None,
    batches: Annotated[str, typer.Option(help="Requests at once, separated by commas.")] = "1,4,8,16",
    num_draft_tokens: Annotated[int, typer.Option(help="Length of forced proposals.")] = 4,
    alpha: Annotated[float, typer.Option(help="Acceptance of forced proposals.")] = 0.7,
    steps: Annotated[int, typer.Option(help="Timed steps a round.")] = 24,
    repeats: Annotated[int, typer.Option(help="Interleaved rounds.")] = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """What a step costs by part and batch size: plain, routed, one draft for all, all drafts mixed."""
    from benchmarks.step import run_step

    sizes = _numbers(int, "--batches", batches)
    _deliver(run_step(config, prompts, sizes, num_draft_tokens, alpha, steps, repeats), report, as_json, output)


@bench_app.command("peers")
def bench_peers(
    prompts: Prompts = None,
    peers: Annotated[str, typer.Option(help="Engines, separated by commas.")] = "transformers,openvino,llamacpp,mlx",
    num_draft_tokens: Annotated[str, typer.Option(help="Lengths of proposals, separated by commas.")] = "2,4",
    requests: Annotated[int, typer.Option(help="Prompts in all.")] = 24,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt, at most.")] = 96,
    repeats: Annotated[int, typer.Option(help="Interleaved blocks.")] = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Other engines on the same checkpoints and prompts; each is installed into an environment of its own, once."""
    from benchmarks.peers.bench import run_peers

    lengths = _numbers(int, "--num-draft-tokens", num_draft_tokens)
    found = run_peers(config, prompts, peers.split(","), lengths, requests, tokens, repeats)
    _deliver(found, report, as_json, output)


def _numbers(kind: type[N], option: str, text: str) -> list[N]:
    """Numbers separated by commas, each once, in order."""
    try:
        numbers = sorted({kind(word) for word in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] <= 0:
        raise ConfigError(f"{option} {text} is no list of numbers above 0", do=f"{option} 1,2")
    return numbers


def _deliver(found: "Report", folder: Path | None, as_json: bool, output: Path | None) -> None:
    """A bench's report: dated files, a document, or a table."""
    if folder:
        hint("Wrote " + ", ".join(str(path) for path in found.save(folder)))
    if as_json or output:
        emit(found.document(), output)
    if not as_json:
        table(*found.table())
        for note in found.notes:
            hint(note)


@registry_app.command("list")
def registry_list(config: ConfigFile = None, as_json: AsJson = False, output: Output = None) -> None:
    """Every draft of the deployment: its champion, its figures, where it came from."""
    from registry.report import list_lines, list_rows
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    models = open_registry(deployment).list_models(deployment.name)
    if as_json or output:
        emit(list_rows(models), output)
    if not as_json:
        table(*list_lines(models))


@registry_app.command("show")
def registry_show(
    draft: Annotated[str, typer.Argument(help="sql, sql@v3, sql@champion or router")],
    config: ConfigFile = None,
    output: Output = None,
) -> None:
    """Everything known about one version, as JSON."""
    from registry.report import find_version, show_document
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    emit(show_document(*find_version(open_registry(deployment), deployment.name, draft)), output)


@registry_app.command("ui")
def registry_ui(
    config: ConfigFile = None, port: Annotated[int, typer.Option(help="Port of the pages.")] = 5000
) -> None:
    """Open the MLflow pages of the registry; stop with Ctrl-C."""
    import subprocess

    from registry.ui import links, ui_command, ui_environment
    from serving.config import deployment_of
    from serving.deployment import open_registry

    deployment = deployment_of(config)
    models = open_registry(deployment).list_models(deployment.name)
    command = ui_command(deployment.registry, port)
    hint("Starting MLflow, about ten seconds; stop it with Ctrl-C. Then open")
    for link in links(deployment.registry, models, port):
        hint(f"  {link.title:<12} {link.url}")
    raise typer.Exit(subprocess.run(command, env=ui_environment(), check=False).returncode)


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
