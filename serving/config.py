"""A deployment: one YAML file, a section a room, every key checked where it is owned.

An empty file serves the starter. Unknown keys are refused with their line and the nearest known key.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from configs.errors import ConfigError
from configs.section import Section
from drafts.learning import LearningSection
from drafts.section import DraftsSection
from registry.section import RegistrySection
from router.section import RouterSection
from serving.located_yaml import LocatedYaml, read_yaml
from serving.section import DecodingSection, ServingSection, TargetSection
from serving.traces import TracesSection


class Deployment(Section):
    """Everything that one server needs to know."""

    name: str = Field(
        default="starter", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="prefix of registered models"
    )
    target: TargetSection = Field(default_factory=TargetSection)
    drafts: DraftsSection = Field(default_factory=DraftsSection)
    decoding: DecodingSection = Field(default_factory=DecodingSection)
    router: RouterSection | None = Field(default_factory=RouterSection)
    registry: RegistrySection = Field(default_factory=RegistrySection)
    traces: TracesSection = Field(default_factory=TracesSection)
    learning: LearningSection = Field(default_factory=LearningSection)
    serving: ServingSection = Field(default_factory=ServingSection)

    @property
    def model_name(self) -> str:
        """What clients send as ``model``."""
        return self.serving.model_name or self.name

    def to_yaml(self) -> str:
        """The resolved configuration: every key with the value in force."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text


def deployment_of(file: Path | str | None) -> Deployment:
    """The deployment of a file; without one, the starter."""
    return Deployment() if file is None else load_deployment(file)


def load_deployment(file: Path | str) -> Deployment:
    """Read and check a deployment file.

    Raises:
        ConfigError: naming file, line, key and, for an unknown key, the nearest known one.
    """
    source = read_yaml(Path(file))
    try:
        return Deployment.model_validate(source.document)
    except ValidationError as error:
        details = sorted(
            error.errors(), key=lambda detail: detail["type"] != "extra_forbidden"
        )  # typos explain the rest
        lines = [_describe(detail, source, Path(file)) for detail in details]
        raise ConfigError(lines[0], facts=tuple(lines[1:])) from None


def _describe(detail: ErrorDetails, source: LocatedYaml, file: Path) -> str:
    path = tuple(detail["loc"])
    where, key = f"{file}:{source.line(path)}", ".".join(str(part) for part in path) or "the file"
    if detail["type"] == "extra_forbidden":
        nearest = _nearest(str(path[-1]), _keys_at(path[:-1]))
        hint = f"; did you mean {nearest}?" if nearest else ""
        return f"{where}: unknown key {key}{hint}"
    if detail["type"] == "missing":
        return f"{where}: {key} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {message[:1].lower()}{message[1:]} (it is {detail['input']!r})"


def _keys_at(path: Iterable[str | int]) -> list[str]:
    """The keys that the section at ``path`` knows."""
    model: Any = Deployment
    for part in path:
        fields: Mapping[str, Any] = model.model_fields if _is_model(model) else {}
        annotation = fields[str(part)].annotation if part in fields else model
        model = next((item for item in _flatten(annotation) if _is_model(item)), None)
    return list(model.model_fields) if _is_model(model) else []


def _flatten(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [annotation, *(leaf for item in inner for leaf in _flatten(item))]


def _is_model(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, BaseModel)


def _nearest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), None)
