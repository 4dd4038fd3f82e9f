"""`python -m tests.e2e.kills`: SIGKILL at random moments of a job, of registrations and of a promotion.

After each kill the registry is consistent, and no version that can be seen is half there. The job is the whole
command ``polydraft distill`` on toys; given once more, it ends with the same loss curve, weights and single version as
one that nobody killed. Registrations and promotions are those of `tests.registry.kills`.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polydraft
from registry.content import content_digest
from registry.names import CHALLENGER
from registry.section import RegistrySection
from registry.store import Registry
from serving.config import Deployment
from tests.registry import kills
from tests.registry.kills import in_child, kill_often, logged_models, seconds_of, write_checkpoint
from tests.serving.toy_folder import toy_drafts, write_toys
from training.distillation import job as _job  # noqa: F401 - children are born with its imports behind them
from training.distillation.job_description import Result

MODEL = "toy-draft-math"


class Distilling:
    """``polydraft distill`` of a toy draft, each time in a folder of its own, and what it has to come to.

    Args:
        place: an empty folder.
        steps: with more than 50, there is a checkpoint in mid-training to go on from.
    """

    def __init__(self, place: Path, steps: int = 72):
        self.place, self._steps = place, steps
        self._file, self._data = place / "toy.yaml", place / "prompts.jsonl"
        toys = write_toys(place / "toys")
        deployment = {
            "name": "toy",
            "target": {"model": str(toys / "target"), "slots": 4, "max_length": 512},
            "drafts": toy_drafts(toys),
            "router": None,
        }
        self._file.write_text(Deployment.model_validate(deployment).to_yaml())
        records = [{"prompt": f"add {number}", "topic": "math"} for number in range(40)]
        self._data.write_text("\n".join(map(json.dumps, records)))

    def run(self, work: Path, seed: int = 0) -> None:
        """The command, in this process."""
        words = ["distill", "--topic", "math", "--data", str(self._data), "--work", str(work), "--quick", "--json"]
        words += [
            "--steps",
            str(self._steps),
            "--learning-rate",
            "0.003",
            "--seed",
            str(seed),
            "--config",
            str(self._file),
            "--output",
            str(work.with_suffix(".json")),
        ]
        log = os.open(work.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.argv = ["polydraft", *words]
        try:
            polydraft.main(words)
        except SystemExit as end:
            if end.code:
                raise

    def expect(self, work: Path) -> None:
        """Remember what a job came to that nobody killed."""
        (self.place / "expected.json").write_text(json.dumps(_outcome(work)))

    def inspect_end(self, work: Path) -> None:
        """Fail unless a finished job came to what is expected, in one run and one version, the challenger."""
        inspect(work)
        outcome = _outcome(work)
        assert outcome == json.loads((self.place / "expected.json").read_text()), "another loss curve, or other weights"
        result, registry = _result(work), Registry.open(RegistrySection())
        (model,) = registry.list_models(MODEL)
        (version,) = (each for each in model.versions if each.run_id == result.run)
        assert (version.label, model.aliases) == (result.version, {CHALLENGER: version.version})
        client = registry.client
        experiments = [each.experiment_id for each in client.search_experiments()]
        unfinished = client.search_runs(experiments, "attributes.status != 'FINISHED'")
        killed_early = [run for run in unfinished if not client.get_metric_history(run.info.run_id, "loss/train")]
        assert unfinished == killed_early, "a run with a curve that nobody went on with"
        sources = {each.source for each in client.search_model_versions()}
        found = {f"models:/{each.model_id}" for each in logged_models(client, experiments)}
        assert found == sources, "files that belong to no version"


def inspect(_: Path) -> None:
    """Fail unless every version that can be seen is whole and every alias points to one."""
    registry = Registry.open(RegistrySection())
    for model in registry.list_models(MODEL):
        assert set(model.aliases.values()) <= {version.version for version in model.versions}, "an alias to nothing"
        for version in model.versions:
            folder = registry.resolve(f"registry://{MODEL}@v{version.version}").folder
            assert content_digest(folder) == version.tags["content"], f"{version.label} is not whole"


def _result(work: Path) -> Result:
    return Result(**json.loads(work.with_suffix(".json").read_text()))


def _outcome(work: Path) -> dict[str, object]:
    """The curve as the registry shows it and the digest of the version's files."""
    result, registry = _result(work), Registry.open(RegistrySection())
    curve: dict[str, float] = {}
    for point in registry.client.get_metric_history(result.run, "loss/train"):
        assert curve.setdefault(str(point.step), point.value) == point.value, "two losses of one step"
    version = registry.resolve(f"registry://{MODEL}@v{str(result.version).rpartition('v')[2]}")
    return {"curve": dict(sorted(curve.items())), "content": version.tags["content"], "steps": result.steps}


def kill_jobs(distilling: Distilling, tries: int, seed: int) -> tuple[int, int]:
    """Kill the command at ``tries`` moments, spread at random over its duration, and give it once more.

    Returns:
        How often it was killed, which is ``tries``, and how often it had finished before.
    """
    moments, place = random.Random(seed), distilling.place
    seconds = seconds_of(distilling.run, place / "straight")
    assert in_child(distilling.expect, place / "straight") == 0
    killed = finished = 0
    while killed < tries:
        work = place / f"work-{killed + finished}"
        # One moment in each of ``tries`` equal slices: random, and none of the steps left out.
        after = seconds * (killed + moments.random()) / tries
        if in_child(distilling.run, work, after) == -signal.SIGKILL:
            killed += 1
        else:  # a busy machine made the measured duration too long
            finished += 1
            seconds *= 0.9
        where = f"killed after {after:.3f} of {seconds:.3f} s, {work.name}"
        assert in_child(inspect, work) == 0, f"{where}: not whole"
        assert in_child(distilling.run, work) == 0, f"{where}: does not go on\n{work.with_suffix('.log').read_text()}"
        assert in_child(distilling.inspect_end, work) == 0, f"{where}: came to something else"
        shutil.rmtree(work)
    return killed, finished


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0; an AssertionError says at which moment something was not as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.kills", description=__doc__)
    parser.add_argument("--tries", type=int, default=20, help="kills of each")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="polydraft-") as place_:
        place = Path(place_)
        folder = place / "checkpoint"
        os.environ["POLYDRAFT_HOME"] = str(place / "elsewhere")
        kills.register(write_checkpoint(folder, 0))  # imports everything, so that a try is not mostly imports
        parts = {"job": partial(kill_jobs, Distilling(_made(place / "jobs")), given.tries, given.seed)}
        for name, job in kills.JOBS.items():
            parts[name] = partial(kill_often, job, folder, given.tries, given.seed)
        for name, part in parts.items():
            os.environ["POLYDRAFT_HOME"] = str(place / f"home of {name}")
            for _ in range(2):  # something to promote
                assert in_child(kills.register_alone, write_checkpoint(folder, 0)) == 0
            killed, finished = part()
            print(f"{name}: killed {killed} times, finished before {finished}; consistent each time", flush=True)  # noqa: T201
    return 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
