"""A draft that computes no numbers is found out before it serves."""

from pathlib import Path

import pytest

from configs.errors import IncompatibleDraft
from decoding.load import load_model
from drafts.soundness import check_sound

DRAFT = Path(__file__).parents[2] / "starter" / "drafts" / "sql"


def test_a_shipped_draft_is_sound():
    model = load_model(DRAFT, 2, 64)
    check_sound(model, "sql@v1")
    assert model.cache.num_free == 2


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_refused(broken):
    """Weights may be numbers and what comes of them not."""
    model = load_model(DRAFT, 2, 64, backend="torch")
    forward = model.forward
    model.forward = lambda spans: forward(spans) * broken
    with pytest.raises(IncompatibleDraft, match="sql@v2 computes"):
        check_sound(model, "sql@v2")
