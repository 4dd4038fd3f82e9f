"""SIGKILL at random moments of an update."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from registry.content import content_digest
from registry.names import CHAMPION
from registry.section import RegistrySection
from registry.store import Registry
from tests.training.online.streams import MODEL, make_subject, stream, write_log
from training.online.update import cycle

FORK = multiprocessing.get_context("fork")
KILLS = 6


def work(place, target):
    """What a learner does when it is started: everything that is due."""
    cycle(make_subject(place, target, Registry.open(RegistrySection())))


def in_child(place, target, kill_after=None):
    """Exit code of a learner that is killed after some seconds."""
    child = FORK.Process(target=work, args=(place, target))
    child.start()
    child.join(kill_after)
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
    child.join(120)
    return child.exitcode


@pytest.mark.slow
def test_kills_lose_no_trace_and_make_no_second_version(tmp_path, models, traces, registry):
    """Killed again and again, the update ends as if it never had been: one version, whole, judged, log read."""
    log = tmp_path / "log"
    write_log(log, traces)
    began = time.monotonic()
    assert in_child(tmp_path, models[0]) == 0
    seconds = (time.monotonic() - began) / 2  # the first update is promoted, which the control makes the longer one
    write_log(log, stream(*models, 130, seed=4))
    moments, killed = random.Random(1), 0
    for number in range(KILLS):
        killed += in_child(tmp_path, models[0], seconds * (number + moments.random()) / KILLS) == -signal.SIGKILL
        (model,) = registry.list_models(MODEL)
        for version in model.versions:
            folder = registry.resolve(f"registry://{MODEL}@v{version.version}").folder
            assert content_digest(folder) == version.tags["content"]
    assert killed >= KILLS // 2
    for _ in range(2):
        assert in_child(tmp_path, models[0]) == 0
    subject = make_subject(tmp_path, models[0], registry)
    (model,) = registry.list_models(MODEL)
    assert sorted(version.version for version in model.versions) == [1, 2, 3]
    learned = [version.tags["learned_until"] for version in model.versions if version.version > 1]
    assert len(set(learned)) == 2
    assert max(learned) == str(subject.desk.state.seen) == str(subject.setting.log.end())
    assert subject.desk.job is None
    assert all("verdict_reason" in version.tags for version in model.versions if version.version > 1)
    assert CHAMPION in model.aliases
