import pytest
from pydantic import ValidationError

from configs.errors import RequestError
from serving.openapi import openapi_document
from serving.schema import ChatRequest, CompletionRequest, parse

DOCUMENT = openapi_document("toy", "1.0")


def references(node: object) -> set[str]:
    """Every ``$ref`` below a node."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(each) for each in node.values()))
    return set().union(*(references(each) for each in node)) if isinstance(node, list) else set()


def test_everything_that_is_referred_to_is_there():
    """Bodies and what is inside them."""
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= known
    assert "#/components/schemas/LossyChoice" in references(DOCUMENT)


@pytest.mark.parametrize(("kind", "needed"), [(ChatRequest, "messages"), (CompletionRequest, "prompt")])
def test_the_described_bodies_are_the_ones_that_are_checked(kind, needed):
    """What is called necessary is missed, and the model's name is said."""
    schema = DOCUMENT["components"]["schemas"][kind.__name__]
    assert set(schema["required"]) == {"model", needed}
    assert schema["properties"]["model"]["const"] == "toy"
    assert set(schema["properties"]) == set(kind.model_fields)
    with pytest.raises((RequestError, ValidationError), match=needed):
        parse(kind, b'{"model": "toy"}')
