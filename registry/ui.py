"""MLflow's own pages on the registry: the command that serves them, and the links worth opening."""

import os
import sys
from dataclasses import dataclass
from urllib.parse import quote

from configs.errors import RegistryError
from registry.location import Location, locate
from registry.section import RegistrySection
from registry.version import ModelSummary

_TRAINING = "?workflowType=machine_learning"  # without it, MLflow opens its pages about chats, which hide models


@dataclass(frozen=True)
class Link:
    """A page of the MLflow UI and what it shows."""

    title: str
    url: str


def ui_command(section: RegistrySection, port: int = 5000) -> list[str]:
    """The command line of an MLflow server on this machine's registry, reachable from loopback only.

    Run it with `ui_environment`, after `Registry.open` made the database. It is ready in about ten
    seconds and ends on SIGTERM.

    Raises:
        RegistryError: ``registry.uri`` is a server already.
    """
    location = locate(section)
    if location.is_server:
        raise RegistryError("registry.uri is a server, with its own pages", do=f"open {location.shown}/#/models")
    place = str(location.artifact_root)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [*command, "--backend-store-uri", location.tracking_uri, "--artifacts-destination", place]


def ui_environment() -> dict[str, str]:
    """This process's environment with job runners and telemetry off: two processes instead of ten."""
    return {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def links(section: RegistrySection, models: list[ModelSummary], port: int = 5000) -> list[Link]:
    """All models, then each of ``models``, then the runs: with their data, curves and pictures."""
    location = locate(section)
    base = _base(location, port)
    pages = [Link("all models", f"{base}/#/models{_TRAINING}")]
    pages += [Link(model.name, f"{base}/#/models/{quote(model.model)}{_TRAINING}") for model in models]
    return [*pages, Link("runs", f"{base}/#/experiments{_TRAINING}")]


def _base(location: Location, port: int) -> str:
    return location.shown if location.is_server else f"http://127.0.0.1:{port}"
