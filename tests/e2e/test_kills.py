"""A sample of `python -m tests.e2e.kills`; `tests/registry/test_kills.py` has that of registrations and promotions."""

import shutil
from pathlib import Path

import pytest

from registry.names import CHALLENGER
from registry.section import RegistrySection
from registry.store import Registry
from tests.e2e.kills import MODEL, Distilling, inspect, kill_jobs
from tests.registry.kills import in_child

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TRIES = 2  # by hand: python -m tests.e2e.kills --tries 20


@pytest.fixture
def distilling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distilling:
    """A job of few steps, and a registry of its own."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path / "home"))
    (tmp_path / "jobs").mkdir()
    return Distilling(tmp_path / "jobs", steps=24)


def test_a_killed_job_ends_as_if_nobody_had_killed_it(distilling: Distilling) -> None:
    """The same curve and weights, one version; and the inspection sees another curve, and a version cut short."""
    killed, _ = kill_jobs(distilling, TRIES, seed=3)
    assert killed == TRIES
    straight, other = distilling.place / "straight", distilling.place / "other"
    assert in_child(lambda work: distilling.run(work, seed=5), other) == 0
    assert in_child(inspect, other) == 0
    assert in_child(distilling.inspect_end, other) != 0
    version = Registry.open(RegistrySection()).resolve(f"registry://{MODEL}@{CHALLENGER}")
    weights = version.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert in_child(inspect, straight) != 0
    shutil.rmtree(distilling.place)
