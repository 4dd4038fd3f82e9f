"""The ``traces`` section of a deployment, and what it comes to: which answers are traced, and where to."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from configs.errors import ConfigError
from configs.section import Section
from decoding.trace_log import LogLimits, LogState, TraceLog
from decoding.trace_recorder import MOST_TOP, TraceRecorder
from drafts.pool import LOOKUP
from registry.home import data_directory
from serving.drawing import is_drawn
from serving.redaction import Redactor, function_called
from serving.text import TextCodec
from serving.wire import Job

_DAY_SECONDS = 86_400.0


class TracesSection(Section):
    """What the target said, kept for learning: prompts and answers as token ids, with probabilities."""

    enabled: bool = Field(default=False, description="a request may still opt out, with polydraft: {trace: false}")
    folder: str = Field(
        default="auto", min_length=1, description="where they are kept; auto: traces/NAME in the data directory"
    )
    top: int = Field(default=32, ge=1, le=MOST_TOP, description="most probable tokens kept at each position")
    share: float = Field(default=1.0, gt=0, le=1, description="of the requests that do not opt out")
    max_mb: int = Field(default=1024, ge=1, description="of all traces; the oldest leave first")
    max_age_days: float = Field(default=30, gt=0, description="after so long they leave")
    segment_mb: int = Field(default=8, ge=1, le=256, description="a file is closed when it is so large")
    segment_seconds: float = Field(default=60, gt=0, le=3600, description="or so old; a kill costs the open file")
    redact: tuple[str, ...] = Field(
        default=(), description="regular expressions: what they are found in, prompt or answer, leaves no trace"
    )
    redact_with: str | None = Field(
        default=None,
        pattern=r"^[\w.]+:\w+$",
        description="package.module:function of prompt and answer that says whether a trace may be kept",
    )

    @model_validator(mode="after")
    def _holds_a_segment(self) -> "TracesSection":
        if self.segment_mb > self.max_mb:
            raise ValueError(f"max_mb is {self.max_mb}: not even a file of segment_mb {self.segment_mb} would stay")
        return self

    @field_validator("redact")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return patterns

    def path(self, deployment: str) -> Path:
        """The folder of a deployment's traces, absolute and not necessarily there yet."""
        if self.folder == "auto":
            return data_directory() / "traces" / deployment
        return Path(self.folder).expanduser().absolute()

    @property
    def limits(self) -> LogLimits:
        """As the log counts them."""
        return LogLimits(
            self.max_mb << 20, self.max_age_days * _DAY_SECONDS, self.segment_mb << 20, self.segment_seconds
        )


@dataclass(frozen=True, slots=True)
class TracePlan:
    """Everything that tracing needs to know; the folder is there."""

    folder: Path
    target: str  # its fingerprint
    top: int
    share: float
    limits: LogLimits
    tokenizer: Path | None = None  # the target's folder, where text is looked at
    redact: tuple[str, ...] = ()
    redact_with: str | None = None

    def redactor(self) -> Redactor | None:
        """Loads a tokenizer where there is something to look for.

        Raises:
            ConfigError: there is no such function.
        """
        if self.tokenizer is None or not (self.redact or self.redact_with):
            return None
        keep = function_called(self.redact_with) if self.redact_with else None
        return Redactor(self.redact, keep, TextCodec(self.tokenizer).decode)


def plan_traces(
    section: TracesSection, deployment: str, target: Callable[[], str], tokenizer: Path | None = None
) -> TracePlan | None:
    """None where nothing is traced.

    Args:
        target: gives the target's fingerprint; a large target takes seconds.
        tokenizer: the target's folder.

    Raises:
        ConfigError: the folder cannot be made, or the function of ``redact_with`` is not there.
    """
    if not section.enabled:
        return None
    folder = section.path(deployment)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = f"traces.folder {folder} cannot be made: {error.strerror}"
        raise ConfigError(what, do="name another folder, or set traces.enabled to false") from error
    if section.redact_with is not None:
        function_called(section.redact_with)
    redact = (section.redact, section.redact_with)
    return TracePlan(folder, target(), section.top, section.share, section.limits, tokenizer, *redact)


def is_traced(job: Job, share: float) -> bool:
    """Not a request that opts out, nor one whose answer its draft may change; of the others a share, by their ids."""
    drawn = is_drawn(job.request_id, share)
    return job.may_trace and job.sampling.lossy is None and drawn


class Tracing:
    """Decides which requests are traced, and writes their traces.

    Args:
        label: name and version of a drafter.
    """

    def __init__(self, plan: TracePlan, label: Callable[[str], str]):
        self._share = plan.share
        self._log = TraceLog(plan.folder, plan.limits, keeps=plan.redactor())
        self.recorder = TraceRecorder(plan.target, self._log.append, plan.top, label, copiers=[LOOKUP])

    def wants(self, job: Job) -> bool:
        """Whether its answer is traced."""
        return is_traced(job, self._share)

    @property
    def state(self) -> LogState:
        return self._log.state

    def close(self) -> None:
        """Write what is not written yet."""
        self.recorder.settle_all()
        self._log.close()
