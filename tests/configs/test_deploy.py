"""The compose file and what belongs to it fit together; `docker compose config` says so, too, where there is one."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.config import load_deployment

DEPLOY = Path(__file__).parents[2] / "configs" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
# Keys of the compose specification that are used here; another one is a slip or belongs into this list.
KEYS = {
    "build",
    "command",
    "depends_on",
    "entrypoint",
    "environment",
    "healthcheck",
    "image",
    "network_mode",
    "ports",
    "profiles",
    "restart",
    "secrets",
    "stop_grace_period",
    "volumes",
}
SCRIPTS = sorted(DEPLOY.glob("*.sh"))


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
def test_docker_accepts_the_compose_file(tmp_path: Path) -> None:
    command = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "--profile", "learning", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_a_service_names_is_there(name: str) -> None:
    """Keys, secrets, volumes, other services, and files of this repository."""
    service = SERVICES[name]
    assert set(service) <= KEYS
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    for other, how in service.get("depends_on", {}).items():
        assert ("healthcheck" in SERVICES[other] or _has_image_check(other)) or how["condition"] == "service_started"
    for volume in service.get("volumes", ()):
        source, target, *_ = volume.split(":")
        assert target.startswith("/")
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")


def _has_image_check(name: str) -> bool:
    return SERVICES[name]["image"] == "polydraft" and "\nHEALTHCHECK " in (DEPLOY / "Dockerfile").read_text()


def test_every_secret_is_made_and_never_committed(tmp_path: Path) -> None:
    """Random, as one line, and kept when the script runs again."""
    rounds = []
    for _ in range(2):
        subprocess.run([DEPLOY / "make_secrets.sh", tmp_path], check=True, capture_output=True)
        rounds.append({file.name: file.read_text() for file in tmp_path.iterdir()})
    found, again = rounds
    assert again == found
    assert {f"./secrets/{name}" for name in found} == {each["file"] for each in COMPOSE["secrets"].values()}
    assert len(set(found.values())) == len(found)
    assert all(re.fullmatch("[0-9a-f]{48}", text) for text in found.values())
    assert "configs/deploy/secrets/" in (DEPLOY.parents[1] / ".gitignore").read_text().splitlines()


def test_what_it_serves_is_a_deployment_whose_files_it_mounts() -> None:
    """Keys where compose puts secrets, the registry where its service listens."""
    deployment = load_deployment(DEPLOY / "deployment.yaml")
    assert deployment.serving.api_keys_file == "/run/secrets/api_keys"
    assert "api_keys" in SERVICES["serving"]["secrets"]
    assert deployment.registry.uri == "http://mlflow:5000"
    grace = int(SERVICES["serving"]["stop_grace_period"].removesuffix("s"))
    assert grace > deployment.serving.deadline_seconds


def test_prometheus_asks_the_server_and_grafana_asks_prometheus() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    [job] = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["serving:8000"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/api_keys"
    [source] = yaml.safe_load((DEPLOY / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    assert f"../grafana:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    assert (DEPLOY.parent / "grafana" / "polydraft.json").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_shell_and_may_be_run(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", script], check=True)


def test_the_image_and_the_script_without_docker_take_the_same_steps() -> None:
    """One install.sh, one health.sh, one list of what is left out."""
    image, script = (DEPLOY / "Dockerfile").read_text(), (DEPLOY / "without_docker.sh").read_text()
    for part in ("configs/deploy/install.sh", "configs/deploy/health.sh", "configs/starter.yaml"):
        assert part in image
        assert part in script
    assert "Dockerfile.dockerignore" in script


def test_the_unit_waits_for_the_longest_answer() -> None:
    """And restarts what failed, not what was stopped."""
    unit = (DEPLOY / "polydraft.service").read_text()
    assert "\nRestart=on-failure\n" in unit
    [seconds] = re.findall(r"\nTimeoutStopSec=(\d+)\n", unit)
    assert int(seconds) > load_deployment(DEPLOY / "deployment.yaml").serving.deadline_seconds
