"""`polydraft learn` on a toy deployment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from commands.learn import _drift_watch
from configs.errors import ConfigError
from decoding.checkpoint import fingerprint
from polydraft import main
from registry.names import CHAMPION, Reference
from registry.section import RegistrySection
from registry.store import Registry
from router import encoder
from router.proposal import proposal_file
from tests.router.stub_encoder import StubEncoder
from tests.training.online.streams import stream, write_log, write_models
from training.online.follow import alone
from training.online.load import Throttle

MODEL = "toy-draft-sql"
LEARNING = {"enabled": True, "every_requests": 100, "steps": 25, "learning_rate": 0.01, "ema": 0.8}


def write_config(place: Path, target: Path, **changes) -> Path:
    """A deployment with one topic and no router."""
    document = {
        "name": "toy",
        "target": {"model": str(target), "max_length": 64},
        "drafts": {"general": None, "topics": {"sql": {"model": f"registry://{MODEL}@champion"}}},
        "router": None,
        "traces": {"enabled": True, "folder": str(place / "log")},
        "learning": {**LEARNING, "heldout_share": 0.4},
        "serving": {"port": 65_431},
        **changes,
    }
    file = place / "toy.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "key"),
        [({"learning": {}}, "learning.enabled"), ({"traces": {}}, "traces.enabled")],
    )
    def test_learning_is_asked_for_in_the_deployment(self, tmp_path, capsys, changes, key):
        """Both keys, or an error that names them."""
        with pytest.raises(SystemExit) as ended:
            main(["learn", str(write_config(tmp_path, tmp_path, **changes)), "--once"])
        assert ended.value.code == 2
        assert key in capsys.readouterr().err

    def test_two_learners_of_one_deployment_are_one_too_many(self, tmp_path):
        """The second one is told, and ends."""
        with alone(tmp_path), pytest.raises(ConfigError, match="another polydraft learn"), alone(tmp_path):
            pass


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A registry with a draft that does not know its target, and a log to learn from."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    target, draft = write_models(tmp_path)
    registry = Registry.open(RegistrySection())
    registry.register(MODEL, draft, {"topic": "sql"}, alias=CHAMPION)
    write_log(tmp_path / "log", stream(target, draft, 130, fingerprint=fingerprint(target)))
    return write_config(tmp_path, target), registry


def test_it_looks_for_drift_in_the_deployments_own_log(deployment, monkeypatch):
    """With the versions that serve; once for the same traffic, and never where that is asked for."""
    monkeypatch.setattr(encoder, "load_encoder", lambda *_: StubEncoder())
    config, registry = deployment
    registry.set_tags(registry.get(Reference(MODEL, CHAMPION, None)), {"alpha": "0.99"})
    file = proposal_file(registry.location.state, "toy")
    for every in (0, 1000):
        write_config(config.parent, config.parent / "target", learning={**LEARNING, "drift_every_requests": every})
        _drift_watch(config, Throttle())()
        assert not file.drift_path.exists()
    write_config(config.parent, config.parent / "target", learning={**LEARNING, "drift_every_requests": 100})
    _drift_watch(config, Throttle())()
    assert file.drift() == ["sql: acceptance"]
    file.drift_path.touch()
    before = file.drift_path.stat().st_mtime_ns
    _drift_watch(config, Throttle())()
    assert file.drift_path.stat().st_mtime_ns == before


def learner(config, *options):
    command = [sys.executable, "-m", "polydraft", "learn", str(config), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.e2e
@pytest.mark.slow
class TestProcess:
    def test_once_promotes_then_has_nothing_to_do(self, deployment):
        """Exit code 0, then 1."""
        config, registry = deployment
        first = learner(config, "--once")
        told = first.communicate(timeout=300)[1]
        assert first.returncode == 0, told
        assert "sql: sql@v2 passes the gate" in told
        assert registry.get(Reference(MODEL, CHAMPION, None)).version == 2
        second = learner(config, "--once")
        told = second.communicate(timeout=300)[1]
        assert second.returncode == 1, told

    def test_it_follows_until_it_is_stopped_and_goes_on_where_it_was(self, deployment):
        """SIGTERM in mid-training ends it with 0 and nothing half made; the next one finishes the job."""
        config, registry = deployment
        first = learner(config)
        for line in first.stderr:
            if "step 10/25" in line:
                break
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=300)
        assert first.returncode == 0
        assert [version.version for version in registry.list_models(MODEL)[0].versions] == [1]
        second = learner(config, "--once")
        told = second.communicate(timeout=300)[1]
        assert second.returncode == 0, told
        assert [version.version for version in registry.list_models(MODEL)[0].versions] == [2, 1]
