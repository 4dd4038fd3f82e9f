"""Sections of a deployment that the serving room owns: the target, the decoding defaults, the endpoint."""

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from configs.section import Section
from decoding.proposal import MAX_DRAFT_TOKENS, Scheme
from drafts.expansion import Expansion

LOOPBACK = ("127.0.0.1", "::1")
KEYS_VARIABLE = "POLYDRAFT_API_KEYS"  # separated by white space or commas


class TargetSection(Section):
    """The one large model."""

    model: str = Field(default="starter://target", description="a folder, a Hugging Face name, or starter://target")
    revision: str | None = Field(default=None, description="a Hugging Face commit, branch or tag")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto | cpu | cuda | cuda:N; auto is the CPU, for as long as no GPU has run this",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="of weights and cache on a GPU; auto is bfloat16 there, the CPU has float32 only"
    )
    exact: bool = Field(default=False, description="on a GPU: every target run has 64 rows, used or not")
    max_length: int = Field(default=1024, ge=16, description="prompt and answer together, in tokens")
    slots: int = Field(default=16, ge=1, description="requests decoded at once")


class DecodingSection(Section):
    """Defaults that a request may override."""

    num_draft_tokens: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_DRAFT_TOKENS,
            description="tokens proposed a step: auto measures this machine; 0 (off) to 12",
        ),
        BeforeValidator(lambda value: None if value == "auto" else value),
        PlainSerializer(lambda value: "auto" if value is None else value),
    ] = None
    tree: tuple[int, ...] | None = Field(
        default=None, description="children of every node by depth, such as [4, 2, 2]; null proposes chains"
    )
    draws: Literal["without_replacement", "independent", "paths"] = Field(
        default="without_replacement", description="how a tree's children are drawn; paths: [4, 1, 1] is four of them"
    )

    @property
    def expansion(self) -> Expansion | None:
        """The trees to grow, if any."""
        return None if self.tree is None else Expansion(self.tree, Scheme(self.draws))

    @model_validator(mode="after")
    def _growable(self) -> "DecodingSection":
        if self.tree is None and self.draws != "without_replacement":
            raise ValueError(f"draws: {self.draws} is about trees: set tree, too")
        if self.tree is not None and self.num_draft_tokens is not None:
            raise ValueError("the tree sets the length: leave num_draft_tokens at auto")
        if self.expansion is not None and self.expansion.depth > MAX_DRAFT_TOKENS:
            raise ValueError(f"the tree is {self.expansion.depth} deep; at most {MAX_DRAFT_TOKENS} tokens are proposed")
        return self


class ServingSection(Section):
    """The HTTP endpoint."""

    host: Literal["127.0.0.1", "0.0.0.0", "::"] = Field(default="127.0.0.1", description="address to listen on")  # noqa: S104
    port: int = Field(default=8000, ge=1024, le=65535)
    model_name: str | None = Field(
        default=None, description="what clients send as `model`; null is the deployment's name"
    )
    api_keys_file: str | None = Field(
        default=None,
        description=f"one bearer token a line; it or {KEYS_VARIABLE} is required when host is not loopback",
    )
    max_queue: int = Field(default=64, ge=0, description="requests that may wait for a slot; beyond it 429")
    deadline_seconds: float = Field(default=120, gt=0, description="longest time for one request; then 504")
    max_tokens: int = Field(default=256, ge=1, description="answer length when the request leaves it open")
    own_core: bool = Field(
        default=True,
        description="on Linux, where steps compute with one thread: no other process of the server uses its core",
    )
    audit_share: float = Field(
        default=0.01, ge=0, le=1, description="of greedy answers that are decoded again without drafts, in idle time"
    )
    mlflow_trace_share: float = Field(
        default=0.0, ge=0, le=1, description="of answers, seen in MLflow with their times and counts; text as in traces"
    )

    @model_validator(mode="after")
    def _guarded(self) -> "ServingSection":
        if self.host not in LOOPBACK and self.api_keys_file is None and not os.environ.get(KEYS_VARIABLE):
            raise ValueError(f"host {self.host} is open to the network: set api_keys_file or {KEYS_VARIABLE}")
        return self
