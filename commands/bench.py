"""`polydraft bench`: measurements side by side."""

from pathlib import Path
from typing import Annotated

import typer

from commands.bench_gpu import bench_gpu
from commands.bench_soak import bench_soak
from commands.options import AsJson, ConfigFile, Output, Prompts, Repeats, ReportFolder, deliver, numbers
from configs.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Measure, counts first; every figure can be repeated.")
app.command("gpu")(bench_gpu)
app.command("soak")(bench_soak)


@app.command("topics")
def bench_topics(
    prompts: Prompts = None,
    per_topic: Annotated[int, typer.Option(help="Prompts a topic.")] = 16,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt.")] = 96,
    repeats: Repeats = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Batch 1, greedy, by topic: plain, prompt lookup, and drafts chosen at random, by nobody, routed, in hindsight."""
    from benchmarks.topics import run_topics

    deliver(run_topics(config, prompts, per_topic, tokens, repeats), report, as_json, output)


@app.command("load")
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

    clients = numbers(int, "--concurrency", concurrency)
    deliver(run_load(config, prompts, clients, requests, tokens, repeats), report, as_json, output)


@app.command("theory")
def bench_theory(
    prompts: Prompts = None,
    alphas: Annotated[str, typer.Option(help="Forced acceptance, separated by commas.")] = "0.5,0.6,0.7,0.8,0.9",
    num_draft_tokens: Annotated[
        int | None, typer.Option(help="Length of every proposal; without it, the predicted best for each alpha.")
    ] = None,
    requests: Annotated[int, typer.Option(help="Prompts in all.")] = 24,
    tokens: Annotated[int, typer.Option(help="Timed tokens a prompt.")] = 192,
    repeats: Repeats = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Speed-up at a forced acceptance, at a real draft's cost, against the cost model; on this CPU, batch 1, greedy."""
    from benchmarks.theory import run_theory

    chances = numbers(float, "--alphas", alphas)
    found = run_theory(config, prompts, chances, num_draft_tokens, requests, tokens, repeats)
    deliver(found, report, as_json, output)


@app.command("step")
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

    sizes = numbers(int, "--batches", batches)
    deliver(run_step(config, prompts, sizes, num_draft_tokens, alpha, steps, repeats), report, as_json, output)


@app.command("peers")
def bench_peers(
    prompts: Prompts = None,
    peers: Annotated[str, typer.Option(help="Engines, separated by commas.")] = "transformers,openvino,llamacpp,mlx",
    num_draft_tokens: Annotated[str, typer.Option(help="Lengths of proposals, separated by commas.")] = "2,4,8",
    requests: Annotated[int, typer.Option(help="Prompts in all.")] = 24,
    tokens: Annotated[int, typer.Option(help="New tokens a prompt, at most.")] = 96,
    repeats: Repeats = 3,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Other engines on the same checkpoints and prompts; each is installed into an environment of its own, once."""
    from benchmarks.peers.bench import run_peers

    lengths = numbers(int, "--num-draft-tokens", num_draft_tokens)
    found = run_peers(config, prompts, peers.split(","), lengths, requests, tokens, repeats)
    deliver(found, report, as_json, output)


@app.command("learning")
def bench_learning(
    prompts: Prompts = None,
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 2,
    requests: Annotated[int, typer.Option(help="Requests a round.")] = 48,
    tokens: Annotated[int, typer.Option(help="New tokens a request, at most.")] = 96,
    repeats: Annotated[int, typer.Option(help="Rounds, quiet and learning in turn.")] = 4,
    swap_seconds: Annotated[float, typer.Option(help="Between two changes of champions.")] = 1.0,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """What clients of the starter notice while a trainer works beside the server and other versions take over."""
    from benchmarks.learning import run_learning

    deliver(run_learning(prompts, clients, requests, tokens, repeats, swap_seconds), report, as_json, output)


@app.command("router")
def bench_router(
    prompts: Annotated[
        Path | None, typer.Option(help="JSON lines with prompt, topic and split, or a folder of such files.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of answers and replays, as of router label; kept.")
    ] = None,
    per_topic: Annotated[int, typer.Option(help="Train prompts of a topic to learn from.")] = 300,
    held_out: Annotated[int, typer.Option(help="Validation prompts of a topic to measure on.")] = 130,
    tokens: Annotated[int, typer.Option(help="Longest answer.")] = 128,
    c: Annotated[float | None, typer.Option("--c", help="Cost of a draft step in target runs; else measured.")] = None,
    w: Annotated[
        str | None, typer.Option("--w", help="Cost of target runs over 1, 2, 3, ... rows; else measured.")
    ] = None,
    config: ConfigFile = None,
    report: ReportFolder = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """What kinds of routers leave to gain: regret in target runs, on held-out and on misleading prompts."""
    from benchmarks.router import RouterTrial, run_router
    from commands.replay import rising

    if (c is None) != (w is None):
        raise ConfigError("--c and --w go together", do="pass both, or measure both")
    if min(per_topic, held_out) < 4:
        raise ConfigError(
            f"{min(per_topic, held_out)} prompts a topic say nothing", do="--per-topic 300 --held-out 130"
        )
    costs = tuple(rising(w)) if w is not None else None
    trial = RouterTrial(prompts, labels, per_topic, held_out, tokens, c, costs)
    deliver(run_router(config, trial), report, as_json, output)
