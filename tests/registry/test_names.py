import pytest

from configs.errors import RegistryError
from registry.names import Reference, draft_model, nearest, router_model, short_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry://starter-draft-sql@champion", Reference("starter-draft-sql", "champion", None)),
        ("registry://starter-draft-sql@v12", Reference("starter-draft-sql", None, 12)),
        ("registry://starter-draft-sql@12", Reference("starter-draft-sql", None, 12)),
        ("sql@v3", Reference("starter-draft-sql", None, 3)),
        ("router@challenger", Reference("starter-router", "challenger", None)),
    ],
)
def test_references_and_labels_name_a_version(text: str, expected: Reference) -> None:
    """A full reference names the model; a label is completed with the deployment's prefix."""
    assert Reference.parse(text, prefix="starter") == expected


@pytest.mark.parametrize("text", ["", "sql", "sql@", "@v3", "registry://sql", "sql@v0", "sql@a b", "sql@v3x!"])
def test_anything_else_is_refused_with_the_form(text: str) -> None:
    """The error shows how a reference is written."""
    with pytest.raises(RegistryError) as caught:
        Reference.parse(text)
    assert "registry://NAME@champion" in caught.value.do


def test_a_reference_prints_as_it_is_written() -> None:
    """Printing and parsing are inverse."""
    for text in ("registry://a-draft-b@champion", "registry://a-router@v3"):
        assert str(Reference.parse(text)) == text


def test_model_names_have_short_names() -> None:
    """Short names undo model names, and leave others alone."""
    assert short_name(draft_model("qwen3-8b", "sql")) == "sql"
    assert short_name(router_model("qwen3-8b")) == "router"
    assert short_name("something") == "something"


def test_nearest_is_close_or_nothing() -> None:
    """A typo finds its word; another word finds none."""
    assert nearest("starter-draft-sq", ["starter-draft-sql", "starter-router"]) == "starter-draft-sql"
    assert nearest("zzz", ["starter-draft-sql"]) is None
