"""MLflow, imported late, kept quiet, asked quickly, and its failures told in one line."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from configs.errors import RegistryError
from registry.database import check_database, prepare_database
from registry.location import Location

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that is there but fails for a moment: three tries within about three seconds. One that
    # is not there is noticed by `check_there` and never reaches these.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its errors come out of here as one line; set to DEBUG to see what it says itself.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def connect(location: Location) -> Any:
    """An ``MlflowClient`` of the registry; the first one of a process costs two seconds of imports.

    Raises:
        RegistryError: nothing answers there, or what answers is no MLflow registry.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    check_there(location)
    import mlflow

    # Where something else imported MLflow first, the variable came too late.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    if location.sqlite_file is not None:
        prepare_database(location.sqlite_file)
        check_database(location.sqlite_file)
    with answering(location):
        make_current(location)
        client = mlflow.MlflowClient(location.tracking_uri, location.tracking_uri)
        client.search_registered_models(max_results=1)
    return client


def make_current(location: Location) -> None:
    """Make the registry the one that MLflow's global functions use.

    Registering a version looks its files up globally, whatever the client was made for.
    """
    import mlflow

    mlflow.set_tracking_uri(location.tracking_uri)


def check_there(location: Location) -> None:
    """Return if the registry's server accepts connections and answers; a file has nothing to check.

    Raises:
        RegistryError: it does not, within ``timeout_seconds``.
    """
    if location.is_server:
        _ask_health(location)
    elif location.sqlite_file is None:
        parts = urlsplit(location.tracking_uri)
        port = parts.port or _PORTS[parts.scheme.split("+")[0]]
        try:
            socket.create_connection((parts.hostname or "localhost", port), location.timeout_seconds).close()
        except OSError as error:
            raise _absent(location, error) from error


def _ask_health(location: Location) -> None:
    import httpx

    try:
        # Any answer will do: a proxy in front may guard /health.
        httpx.get(f"{location.tracking_uri}/health", timeout=location.timeout_seconds)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _absent(location, error) from error


def _absent(location: Location, error: Exception) -> RegistryError:
    return RegistryError(
        f"no registry answers at {location.shown}",
        do="start it, correct registry.uri, or use registry.uri: local",
        facts=(str(error) or type(error).__name__,),
    )


@contextmanager
def answering(location: Location) -> Iterator[None]:
    """Turn MLflow's and its database's failures into a `RegistryError` of one line."""
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        raise _told(location, error) from error


def _told(location: Location, error: Exception) -> RegistryError:
    first = next(iter(str(error).splitlines()), type(error).__name__).removeprefix("INTERNAL_ERROR: ")
    if isinstance(error, ModuleNotFoundError):
        return RegistryError(
            f"{location.shown} needs {error.name}, which is not installed", f"pip install {error.name}"
        )
    if "out-of-date database schema" in first:
        return RegistryError(
            f"the registry {location.shown} was made by another MLflow version",
            do=f"back it up, then: mlflow db upgrade {location.shown}",
        )
    if location.is_server:
        return RegistryError(
            f"the registry at {location.shown} refused",
            do="check that registry.uri is an MLflow server and that you may use it",
            facts=(first[:300],),
        )
    return RegistryError(f"the registry {location.shown} refused", facts=(first[:300],))
