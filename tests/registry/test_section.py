import pytest
from pydantic import ValidationError

from registry.section import RegistrySection


def test_an_empty_section_is_the_local_registry() -> None:
    """Every key has a default."""
    assert RegistrySection().uri == "local"


@pytest.mark.parametrize("values", [{"url": "local"}, {"uri": ""}, {"timeout_seconds": 0}])
def test_unknown_keys_and_impossible_values_are_refused(values: dict[str, object]) -> None:
    """A mistake is an error at start, not a surprise later."""
    with pytest.raises(ValidationError):
        RegistrySection.model_validate(values)
