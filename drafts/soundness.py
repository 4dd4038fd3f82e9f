"""Does this draft work at all? Its weights are checked when they are read; here, what comes of them."""

from configs.errors import IncompatibleDraft
from decoding.model import LanguageModel
from decoding.span import Span


def check_sound(model: LanguageModel, label: str) -> None:
    """Return if ``model`` says something about what follows a token.

    Raises:
        IncompatibleDraft: its logits are no numbers.
    """
    slot = model.cache.allocate()
    logits = model.forward([Span(slot, [0])])  # a trimmed head has minus infinity for what it lacks
    model.cache.release(slot)
    if bool(logits.isnan().any()) or not bool(logits.isfinite().any()):
        raise IncompatibleDraft(f"{label} computes what is no number", do="distil it anew, or roll back")
