"""What /health says."""

from dataclasses import asdict
from typing import Any

from serving.dispatch import Dispatcher
from serving.wire import Load


def health_document(model: str, slots: int, dispatcher: Dispatcher) -> dict[str, Any]:
    """``status`` is ready, starting or not ready; ``reasons`` say why, or what works only in part.

    ``traces`` counts those written and dropped since the start; null where none are kept.
    """
    status, reasons = "ready", []
    state = dispatcher.status
    router = state.router if state else "starting"
    if dispatcher.worker_died:
        status, reasons = "not ready", ["the model process died; the server is stopping"]
    elif state is None:
        status, reasons = "starting", ["waiting for the model process"]
    elif router == "starting":
        status, reasons = "starting", ["the router is loading; until then the general draft serves"]
    elif router not in ("off", "ready"):
        reasons = [f"no routing, the general draft serves: {router}"]
    traces = asdict(state.traces) if state and state.traces else None
    if traces and (error := traces.pop("error")):
        reasons = [*reasons, f"traces cannot be written and are dropped: {error}"]
    load = asdict(state.load if state else Load())
    known = {"status": status, "reasons": reasons, "model": model, "router": router, "slots": slots, **load}
    return {**known, "traces": traces}
