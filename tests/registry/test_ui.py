import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from configs.errors import RegistryError
from registry.removal import Rule, remove
from registry.section import RegistrySection
from registry.store import Registry
from registry.ui import links, ui_command, ui_environment
from registry.verdicts import promote
from registry.version import ModelSummary
from tests.registry.conftest import MakeFolder


@pytest.fixture(scope="module")
def served_home(tmp_path_factory: pytest.TempPathFactory, template_database: Path) -> Path:
    """A data directory of its own, for the one server of this module."""
    home = tmp_path_factory.mktemp("served")
    (home / "registry").mkdir()
    shutil.copy(template_database, home / "registry" / "mlflow.db")
    return home


@pytest.fixture(scope="module")
def server(served_home: Path) -> Iterator[str]:
    """An MLflow server on that directory's registry, as ``make ui`` starts it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYDRAFT_HOME", str(served_home))
        command = ui_command(RegistrySection(), port)
    environment = ui_environment()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/health", timeout=1).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("the server did not come up")


@pytest.mark.slow
def test_a_registry_behind_http_works_like_the_local_one(
    server: str,
    make_folder: MakeFolder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Register, resolve, list and move aliases through a server; files arrive by download, once."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path / "another machine"))
    registry = Registry.open(RegistrySection(uri=server))
    registry.register("a-draft-sql", make_folder("one"), {"topic": "sql"}, {"x": 1.0}, "champion", experiment="a")
    registry.register("a-draft-sql", make_folder("two"), {"topic": "sql"}, experiment="a")
    first = registry.resolve("registry://a-draft-sql@champion")
    assert first.folder.is_relative_to(tmp_path / "another machine")
    assert (first.folder / "model.safetensors").read_text() == "one"
    assert registry.set_alias("a-draft-sql", "champion", 2, expected_current=1).aliases == ("champion",)
    (summary,) = registry.list_models("a-")
    assert summary.champion == registry.resolve("registry://a-draft-sql@champion")
    assert summary.versions[1].folder == first.folder
    (first.folder / "config.json").unlink()
    again = Registry.open(RegistrySection(uri=server)).resolve("registry://a-draft-sql@v1")
    assert not (again.folder / "config.json").exists()
    with pytest.raises(RegistryError, match="no model a-draft-sq"):
        registry.resolve("registry://a-draft-sq@champion")
    assert httpx.get(f"{server}/").status_code == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_versions_behind_a_server_are_promoted_and_removed(
    server: str, served_home: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Verdicts reach the runs, killed jobs of this machine are ended, and files are freed on the server's side."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path / "another machine"))
    monkeypatch.setattr("registry.removal.YOUNGEST", timedelta(0))
    registry = Registry.open(RegistrySection(uri=server))
    versions = [registry.register("c-draft-sql", make_folder(text), {}, experiment="c") for text in ("one", "two")]
    promoted = promote(registry, versions[1], None, "better")
    record = registry.run_of(promoted)
    assert record is not None
    assert record.tags["verdict"] == "promoted"
    files = list(served_home.rglob("model.safetensors"))
    gone = remove(registry, ["c-draft-sql"], Rule(keep=0))
    assert [version.version for version in gone] == [1]
    assert len(list(served_home.rglob("model.safetensors"))) == len(files) - 1
    assert not versions[0].folder.exists()
    assert registry.resolve("registry://c-draft-sql@champion").version == 2


@pytest.mark.slow
def test_the_pages_show_what_was_registered_here(
    server: str, served_home: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reads versions that this machine registered without it, and their files."""
    monkeypatch.setenv("POLYDRAFT_HOME", str(served_home))
    Registry.open(RegistrySection()).register("b-draft-sql", make_folder("three"), {"topic": "sql"}, experiment="b")
    page = f"{server}/model-versions/get-artifact"
    answer = httpx.get(page, params={"name": "b-draft-sql", "version": "1", "path": "model.safetensors"})
    assert answer.text == "three"


def test_the_command_serves_this_machine_only(home: Path) -> None:
    """Loopback, the absolute database, and no job runners."""
    command = ui_command(RegistrySection(), 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{home / 'registry' / 'mlflow.db'}"
    assert ui_environment()["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_a_server_has_its_own_pages() -> None:
    """There is nothing to start when registry.uri is a server: its pages are named."""
    section = RegistrySection(uri="http://mlflow:5000")
    with pytest.raises(RegistryError) as caught:
        ui_command(section)
    assert "http://mlflow:5000/#/models" in caught.value.do
    assert links(section, [])[0].url == "http://mlflow:5000/#/models?workflowType=machine_learning"


def test_links_lead_to_the_models(home: Path) -> None:
    """MLflow's default navigation hides the models; the links go there, and to the navigation that shows them."""
    model = ModelSummary("starter-draft-sql", {}, (), {})
    urls = [link.url for link in links(RegistrySection(), [model], 5001)]
    assert "http://127.0.0.1:5001/#/models/starter-draft-sql?workflowType=machine_learning" in urls
