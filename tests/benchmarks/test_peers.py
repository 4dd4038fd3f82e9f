"""`bench peers` talks to other engines line by line, compares token by token, and says why one is missing."""

import json
import subprocess
import sys

import pytest

from benchmarks.peers import bench
from benchmarks.peers.bench import Mode, Result, peer_rows, run_peers, verdicts
from benchmarks.peers.environments import PEERS, Peer, prepare
from benchmarks.peers.process import PeerProcess
from benchmarks.peers.worker import Decoded, Job
from configs.errors import ConfigError, PeerError

STUB = """
import sys
from benchmarks.peers.worker import Decoded, serve

class Stub:
    def __init__(self, job):
        print("noise on standard output")

    def decode(self, prompt, tokens, num_draft_tokens, copies):
        if prompt == [13]:
            raise RuntimeError("unlucky")
        return Decoded(prompt * tokens, 0.5, num_draft_tokens)

serve(Stub)
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A peer that repeats its prompt, in a process of this Python."""
    (tmp_path / "stub_peer.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(Peer, "module", "stub_peer")
    job = Job("target", "draft", [2], 64, 1, str(tmp_path))
    process = PeerProcess(PEERS["mlx"], sys.executable, job, tmp_path / "log")
    yield process
    process.close()


def test_a_peer_answers_line_by_line_whatever_it_prints(stub):
    """Noise on its standard output does not reach the conversation."""
    assert stub.decode([7], 3, 2) == Decoded([7, 7, 7], 0.5, 2)
    assert stub.decode([8], 2, 0) == Decoded([8, 8], 0.5, 0)


def test_a_peer_that_dies_says_its_last_words(stub):
    """The error names the engine and the log, and repeats the log's end."""
    with pytest.raises(PeerError, match="mlx-lm ended") as error:
        stub.decode([13], 3, 2)
    assert "RuntimeError: unlucky" in error.value.facts[-1]


def test_a_peer_that_cannot_be_installed_is_an_error_with_its_reason(tmp_path):
    """Pip's last words are in the message, and nothing is taken for installed afterwards."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("--no-index\nno-such-engine==1.0\n")
    for _ in range(2):
        with pytest.raises(PeerError, match="mlx-lm cannot be installed here") as error:
            prepare(PEERS["mlx"], tmp_path / "envs", requirements)
        assert any("no-such-engine" in fact for fact in error.value.facts)


def test_an_environment_is_made_once_for_its_requirements(tmp_path):
    """The second call changes nothing; other requirements make it anew."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("--no-index\n")
    python = prepare(PEERS["mlx"], tmp_path / "envs", requirements)
    marker = python.parent / "marker"
    marker.touch()
    assert prepare(PEERS["mlx"], tmp_path / "envs", requirements) == python
    assert marker.exists()
    requirements.write_text("--no-index\n# changed\n")
    prepare(PEERS["mlx"], tmp_path / "envs", requirements)
    assert not marker.exists()


@pytest.fixture(scope="module")
def report(config, tmp_path_factory):
    """transformers in this very environment; mlx-lm not to be had."""
    folder = tmp_path_factory.mktemp("envs")

    def prepare_here(peer, _folder):
        if peer.name == "mlx":
            raise PeerError("mlx-lm cannot be installed here", facts=("no wheel",))
        return sys.executable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "prepare", prepare_here)
        return run_peers(config, None, ["transformers", "mlx"], [2, 3], requests=4, tokens=24, repeats=2, folder=folder)


def test_another_engine_says_the_same_tokens_plainly_and_with_a_draft(report):
    """Every mode decodes every prompt to the length of our own answer, token by token as ours."""
    rows = {(row["engine"], row["method"], row["num_draft_tokens"]): row for row in report.rows}
    pooled = [("pooled", 2), ("pooled", 3)]
    ours = [("plain", None), *pooled, ("routed", None)]
    theirs = [("plain", None), *pooled, ("own length", None), ("lookup", 2), ("lookup", 3)]
    assert list(rows) == [("polydraft", *mode) for mode in ours] + [("transformers", *mode) for mode in theirs]
    assert all(row["identical"] for row in rows.values())
    (tokens,) = {row["tokens"] for row in rows.values()}
    assert 0 < tokens <= 4 * 24
    assert rows["transformers", "plain", None]["tokens_per_target_run"] == 1
    assert rows["polydraft", "plain", None]["speedup"] == rows["transformers", "plain", None]["speedup"] == 1
    assert rows["transformers", "pooled", 2]["version"] == PEERS["transformers"].version


def test_a_missing_peer_is_reported_with_its_reason(report, tmp_path):
    """In the notes, the document and the Markdown table's file."""
    assert "no wheel" in report.document()["unavailable"]["mlx"]
    _, table, picture = report.save(tmp_path)
    assert "mlx-lm cannot be installed here" in table.read_text()
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_peer_that_is_ahead_or_differs_is_said_to_be():
    """The verdict compares best modes, block by block; one differing answer is not identical."""
    results = {
        Mode("polydraft", 0): Result(10, 10, 0, [100, 100]),
        Mode("polydraft", 4): Result(10, 5, 0, [200, 240]),
        Mode("mlx", 0): Result(10, 10, 0, [400, 400]),
        Mode("mlx", 4): Result(10, 5, 1, [100, 100]),
    }
    rows = peer_rows(results)
    assert [row["identical"] for row in rows] == [True, True, True, False]
    assert rows[1]["speedup"] == pytest.approx(2.2)
    assert verdicts(rows) == ["0.55x: behind mlx-lm at its best (plain)."]


def test_an_unknown_peer_is_refused(config):
    """The message lists the known ones."""
    with pytest.raises(ConfigError, match="vllm is no peer") as error:
        run_peers(config, None, ["vllm"], [2], requests=1, tokens=4, repeats=1)
    assert "openvino" in error.value.do


def test_the_workers_side_needs_the_standard_library_alone():
    """It runs in environments that have nothing of ours."""
    code = (
        "import json, sys, benchmarks.peers.worker\nprint(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout)) - set(sys.stdlib_module_names)
    assert {name for name in loaded if not name.startswith("_")} == {"benchmarks"}


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_pins_everything(name):
    """Each requirement names one version, the engine's own among them."""
    lines = PEERS[name].requirements.read_text().split()
    assert all(line.count("==") == 1 and "+" not in line for line in lines)
    assert PEERS[name].version
