"""What /health says."""

from dataclasses import asdict
from typing import Any

from router.proposal import ProposalFile
from serving.complaints import Notices
from serving.dispatch import Dispatcher
from serving.wire import Load

STATUS_CODES = {"ready": 200, "degraded": 200, "starting": 503, "not ready": 503}


class Board:
    """What others know: the registry's followers, and a file of proposals of new topics that wait for an answer.

    ``own_core`` is the step loop's, None where it has none.

    The file is read anew when it has changed.
    """

    def __init__(self, file: ProposalFile, notices: Notices | None = None, own_core: int | None = None):
        self._file, self.notices, self.own_core = file, notices, own_core
        self._seen: int | None = None
        self._open: list[dict[str, Any]] = []

    @property
    def open(self) -> list[dict[str, Any]]:
        """Name, requests and words of each."""
        try:
            changed = self._file.path.stat().st_mtime_ns
        except OSError:
            return []
        if changed != self._seen:
            self._seen = changed
            found = self._file.read().open
            self._open = [{"name": each.name, "requests": each.requests, "words": list(each.words)} for each in found]
        return self._open

    @property
    def drifted(self) -> list[str]:
        """What the last `polydraft topics drift` found."""
        return self._file.drift()


def health_document(model: str, slots: int, dispatcher: Dispatcher, board: Board | None = None) -> dict[str, Any]:
    """``status`` is ready, degraded (it serves; ``reasons`` say what works only in part), starting or not ready.

    ``router_version`` decides; null where none does yet. ``topics`` are those added while serving, those that the
    traffic proposes (`polydraft topics propose`), and what had drifted when `polydraft topics drift` last looked.
    ``traces`` counts those written and dropped since the start; null where none are kept. ``audit`` counts answers that
    were decoded again without drafts; null where none are. ``own_core`` is the step loop's; null where it has none.
    """
    status, reasons = "ready", []
    state = dispatcher.status
    router = state.router if state else "starting"
    if dispatcher.worker_died:
        status, reasons = "not ready", ["the model process died and is started again"]
    elif state is None:
        status, reasons = "starting", ["waiting for the model process"]
    elif router == "starting":
        status, reasons = "starting", ["the router is loading; until then the general draft serves"]
    elif router not in ("off", "ready"):
        reasons = [f"no routing, the general draft serves: {router}"]
    traces = asdict(state.traces) if state and state.traces else None
    if traces and (error := traces.pop("error")):
        reasons = [*reasons, f"traces cannot be written and are dropped: {error}"]
    if state and state.router_refused:
        reasons = [*reasons, f"the router stays as it is: {state.router_refused}"]
    audit = asdict(state.audit) if state and state.audit else None
    if audit and audit["mismatches"]:
        what = f"{audit['mismatches']} of {audit['answers']} audited answers differ from plain decoding"
        reasons = [*reasons, f"{what}, top-two gap {audit['largest_gap']:.1e} at most"]
    reasons = [*reasons, *(state.drafts_refused if state else ()), *_registry(board)]
    if status == "ready" and reasons:
        status = "degraded"
    load = asdict(state.load if state else Load())
    known = {"status": status, "reasons": reasons, "model": model, "router": router, "slots": slots, **load}
    topics = {
        "added": list(state.added) if state else [],
        "proposed": board.open if board else [],
        "drifted": board.drifted if board else [],
    }
    version, own_core = state.router_version if state else "", board.own_core if board else None
    further = {"traces": traces, "topics": topics, "audit": audit, "own_core": own_core}
    return {**known, "router_version": version or None, **further}


def _registry(board: Board | None) -> list[str]:
    notices = board.notices if board is not None else None
    return [f"not followed: {reason}" for reason in notices.reasons] if notices is not None else []
