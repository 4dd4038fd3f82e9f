"""MLflow traces of a share of the answers: what is noted in one process, and written in another."""

from collections.abc import Callable, Sequence
from multiprocessing import Pipe

from registry.experiments import experiment_name
from registry.traces import TraceWriter
from serving.config import Deployment
from serving.deployment import open_registry
from serving.redaction import Redactor, function_called
from serving.seeing.journal import Journal
from serving.seeing.outbox import Outbox
from serving.seeing.publisher import Counts, Publisher
from serving.text import TextCodec
from serving.traces import TracesSection, is_traced
from serving.wire import Job

_DAY_SECONDS = 86_400.0

Text = Callable[[Sequence[int], Sequence[int]], tuple[str, str] | None]


class Publication:
    """Both ends of the way, made before the processes part.

    Text goes the way of traces: it is shown of the answers that traces keep, unless their patterns withhold it, and
    as long as they do.
    """

    def __init__(self, deployment: Deployment):
        self._deployment = deployment
        self._entries, self._to_main = Pipe(duplex=False)
        self._counts, self._outbox = Counts(), Outbox(self._to_main)
        self.journal = Journal(deployment.serving.mlflow_trace_share, self._outbox.put, self._may_show)
        self._publisher: Publisher | None = None

    @property
    def written(self) -> int:
        """As the HTTP process sees it."""
        return self._counts.written

    @property
    def dropped(self) -> int:
        """On the way and at its end, as the HTTP process sees it."""
        return self._outbox.dropped + self._counts.dropped

    def start(self, codec: TextCodec) -> None:
        """In the main process, once the HTTP process is there: write what it sends."""
        traces = self._deployment.traces
        keep_seconds, model = traces.max_age_days * _DAY_SECONDS, self._deployment.model_name
        text = text_of(traces, codec)
        self._publisher = Publisher(self._entries, self._writer, model, text, keep_seconds, self._counts)
        self._publisher.start()

    def end(self) -> None:
        """In the main process, once the HTTP process has ended."""
        if self._publisher is not None:
            self._publisher.close()

    def flush(self) -> None:
        """In the HTTP process, before it ends."""
        self._outbox.close()

    def _may_show(self, job: Job) -> bool:
        traces = self._deployment.traces
        return traces.enabled and is_traced(job, traces.share)

    def _writer(self) -> TraceWriter:
        return TraceWriter(open_registry(self._deployment), experiment_name(self._deployment.name, "serve"))


def publication_of(deployment: Deployment) -> Publication | None:
    """None where the share is 0."""
    return Publication(deployment) if deployment.serving.mlflow_trace_share else None


def text_of(traces: TracesSection, codec: TextCodec) -> Text:
    """What may be shown of an answer, by its token ids."""
    keep = function_called(traces.redact_with) if traces.redact_with else None
    redactor = Redactor(traces.redact, keep, codec.decode)

    def text(prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> tuple[str, str] | None:
        prompt, answer = codec.decode(prompt_ids), codec.decode(answer_ids)
        return (prompt, answer) if redactor.allows(prompt, answer) else None

    return text
