"""The OpenAPI description of the routes, made from the models that check the bodies."""

from typing import Any

from pydantic import BaseModel

from serving.schema import ChatRequest, CompletionRequest

_REFERENCE = "#/components/schemas/{model}"
_MEANINGS = {
    "400": "a parameter is wrong; `param` names it",
    "401": "the API key is missing or unknown",
    "404": "no such model or route",
    "405": "no such method here",
    "413": "the body is too large",
    "429": "every place is taken; Retry-After says when to come back",
    "500": "the server failed",
    "503": "the server cannot answer",
    "504": "no answer within the deadline",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
            "properties": {
                "message": {"type": "string", "minLength": 1},
                "type": {"type": "string", "minLength": 1},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_USAGE = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
}


def openapi_document(model_name: str, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of a server.

    Args:
        model_name: the one model that requests may name.
        version: of polydraft.
    """
    schemas: dict[str, Any] = {"Error": _ERROR, "Chat": _answer("message"), "Completion": _answer("text")}
    for kind in (ChatRequest, CompletionRequest):
        schemas |= _models(kind)
        schemas[kind.__name__]["properties"]["model"] = {"type": "string", "const": model_name}
    card = {"type": "object", "required": ["id", "object", "created", "owned_by"]}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "polydraft", "version": version, "description": "OpenAI's API; extensions: docs/request.md"},
        "paths": {
            "/v1/chat/completions": {"post": _generating("chat", ChatRequest, "Chat")},
            "/v1/completions": {"post": _generating("completions", CompletionRequest, "Completion")},
            "/v1/models": {"get": _operation("models", {"type": "object", "required": ["object", "data"]}, ["401"])},
            "/v1/models/{name}": {"get": {**_operation("model", card, ["401", "404"]), "parameters": [name]}},
            "/health": {"get": _health()},
            "/openapi.json": {"get": _operation("description", {"type": "object"}, [])},
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _models(kind: type[BaseModel]) -> dict[str, Any]:
    """The schema of a body and of everything in it, by name."""
    schema = kind.model_json_schema(ref_template=_REFERENCE)
    parts: dict[str, Any] = schema.pop("$defs", {})
    return {**parts, kind.__name__: schema}


def _answer(content: str) -> dict[str, Any]:
    choice = {"type": "object", "required": ["index", content, "logprobs", "finish_reason"]}
    keys = ["id", "object", "created", "model", "choices", "usage", "polydraft"]
    listed = {"type": "array", "items": choice, "minItems": 1}
    return {"type": "object", "required": keys, "properties": {"choices": listed, "usage": _USAGE}}


def _generating(name: str, kind: type[BaseModel], answer: str) -> dict[str, Any]:
    operation = _operation(name, _named(answer), ["400", "401", "404", "413", "429", "500", "504"])
    operation["responses"]["200"]["content"]["text/event-stream"] = {}  # OpenAPI 3.1 has no words for events
    body = {"required": True, "content": {"application/json": {"schema": _named(kind.__name__)}}}
    return {**operation, "requestBody": body, "security": [{}, {"key": []}]}


def _health() -> dict[str, Any]:
    state = {"type": "object", "required": ["status", "reasons", "model", "running", "waiting", "free_slots"]}
    operation = _operation("health", state, [])
    operation["responses"]["503"] = {"description": _MEANINGS["503"], "content": _json(state)}
    return operation


def _operation(name: str, schema: dict[str, Any], refusals: list[str]) -> dict[str, Any]:
    refused = {code: {"description": _MEANINGS[code], "content": _json(_named("Error"))} for code in refusals}
    return {"operationId": name, "responses": {"200": {"description": "yes", "content": _json(schema)}, **refused}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _named(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=name)}
