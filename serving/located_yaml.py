"""YAML that remembers the line of every key, so that a mistake can be pointed at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LocatedYaml:
    """A parsed document and the line, from 1, of each key path in it."""

    document: dict[str, Any]
    lines: dict[Path_, int]

    def line(self, path: Path_) -> int:
        """Line of ``path``, or of its nearest parent that is written out."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(file: Path) -> LocatedYaml:
    """Read one mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, names a key twice, or is no mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", do="polydraft serve configs/starter.yaml") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigError(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if document is None:
        return LocatedYaml({}, {})
    if not isinstance(document, dict) or not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{file}: a deployment is a mapping of sections, this is a {type(document).__name__}")
    lines: dict[Path_, int] = {}
    _collect(root, (), lines, file)
    return LocatedYaml(_without_blanks(root, document), lines)


def _collect(node: yaml.Node, path: Path_, lines: dict[Path_, int], file: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*path, str(key.value))
            if child in lines:
                line = key.start_mark.line + 1
                raise ConfigError(f"{file}:{line}: {_dotted(child)} is written twice", do="keep one of the two")
            lines[child] = key.start_mark.line + 1
            _collect(value, child, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[*path, index] = value.start_mark.line + 1
            _collect(value, (*path, index), lines, file)


def _without_blanks(node: yaml.MappingNode, document: dict[str, Any]) -> dict[str, Any]:
    """Drop keys that have no value at all: `router:` keeps the defaults, `router: null` says none."""
    values = {str(key.value): value for key, value in node.value}
    kept: dict[str, Any] = {}
    for key, value in document.items():
        source = values.get(str(key))
        if isinstance(source, yaml.ScalarNode) and not source.value and source.style is None:
            continue
        if isinstance(source, yaml.MappingNode) and isinstance(value, dict):
            kept[str(key)] = _without_blanks(source, value)
        else:
            kept[str(key)] = value
    return kept


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)
