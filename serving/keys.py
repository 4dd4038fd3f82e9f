"""The bearer tokens of a server: from a file, or from the environment where secrets come that way."""

import os
from collections.abc import Mapping
from pathlib import Path

from configs.errors import ConfigError
from serving.section import KEYS_VARIABLE, LOOPBACK, ServingSection


def read_keys(section: ServingSection, host: str, environment: Mapping[str, str] = os.environ) -> tuple[bytes, ...]:
    """Those of the file and of the environment together; none leaves a server open, which only loopback may be.

    Raises:
        ConfigError: the file cannot be read or holds none, or the network could reach a server without keys.
    """
    keys = [*_from_file(section.api_keys_file), *environment.get(KEYS_VARIABLE, "").replace(",", " ").split()]
    if not keys and host not in LOOPBACK:
        what = f"host {host} is open to the network and there are no keys"
        raise ConfigError(what, do=f"set serving.api_keys_file or {KEYS_VARIABLE}")
    return tuple(dict.fromkeys(key.encode() for key in keys))


def _from_file(name: str | None) -> list[str]:
    if name is None:
        return []
    try:
        lines = Path(name).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read serving.api_keys_file {name}: {error.strerror}") from error
    keys = [line.strip() for line in lines if line.strip()]
    if not keys:
        raise ConfigError(f"serving.api_keys_file {name} holds no key", do="write one bearer token a line")
    return keys
