"""What a distillation job is asked for, and what it answers."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from decoding.checkpoint import fingerprint
from training.distillation.parent import Parent
from training.distillation.presets import Preset
from training.distillation.sequences import OF_THE_DRAFT, Source


@dataclass(frozen=True)
class Job:
    """What is to be trained, every reference resolved. Exactly one of ``data`` and ``traces`` is given.

    Attributes:
        deployment: its name, which prefixes registered models.
        target: its folder.
        work: everything that a resumed job needs.
        rounds: how often the draft's own share of the text is written, each time by the draft as it is by then.
        wrong_only: learn at the wrong positions of traces alone.
        limit: training prompts or traces, at most.
        command: that repeats the job.
        config: the resolved deployment file, for the record.
    """

    deployment: str
    topic: str
    target: Path
    parent: Parent
    work: Path
    preset_name: str
    preset: Preset
    data: Path | None = None
    traces: Path | None = None
    source: Source = "teacher"
    rounds: int = 1
    wrong_only: bool = False
    limit: int | None = None
    answer_tokens: int = 160
    max_length: int = 1024
    device: str = "cpu"
    command: str = ""
    config: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.traces is None):
            raise ConfigError("pass either --data or --traces", do="polydraft distill --topic sql --data prompts.jsonl")
        if self.data is not None and not self.data.is_file():
            raise ConfigError(f"no file {self.data}", do="pass JSON lines with prompt")
        if self.traces is not None and not self.traces.is_dir():
            raise ConfigError(f"no folder {self.traces}", do="pass the folder of a trace log")
        if self.traces is not None and self.preset.needs_text:
            raise ConfigError(f"preset {self.preset_name} reads text; traces have none", do="pass --data")
        if self.traces is not None and self.source != "teacher":
            raise ConfigError(f"traces are the target's own: --source {self.source} needs prompts", do="pass --data")
        if self.rounds < 1:
            raise ConfigError(f"--rounds is {self.rounds}; it must be at least 1")
        if self.rounds > 1 and self.source not in OF_THE_DRAFT:
            raise ConfigError(
                f"--rounds {self.rounds} writes the draft's text anew, and with --source {self.source} it writes none",
                do=f"pass --source {', '.join(OF_THE_DRAFT)}",
            )

    def identity(self, target: str) -> dict[str, str]:
        """What decides the result, except the traces themselves, which the job keeps."""
        data = hashlib.sha256(self.data.read_bytes()).hexdigest()[:16] if self.data else str(self.traces)
        choices: tuple[object, ...] = (self.source, self.wrong_only, self.limit, self.answer_tokens, self.max_length)
        choices += (self.rounds,) if self.rounds > 1 else ()
        version = self.parent.version
        parent = version.tags.get("content", "") if version is not None else fingerprint(self.parent.folder)
        return {"target": target, "parent": parent, "data": data, "preset": repr(self.preset), "how": repr(choices)}

    def in_own_folder(self, root: Path) -> "Job":
        """The same in a folder of ``root`` that the same job finds again and no other shares."""
        identity = json.dumps(self.identity(fingerprint(self.target)))
        key = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return replace(self, work=root / f"{self.deployment}-{self.topic}-{key}")


@dataclass(frozen=True)
class Result:
    """What came of a job; ``version`` and ``run`` are None if it was not registered."""

    topic: str
    parent: str
    folder: str
    version: str | None
    run: str | None
    window: str
    steps: int
    now: dict[str, Any]
    before: dict[str, Any]
