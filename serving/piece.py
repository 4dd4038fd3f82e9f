"""What one target run added to an answer, as text."""

from dataclasses import asdict, dataclass, field
from typing import Any

from decoding.request import Origin
from serving.logprobs import NamedLogprob
from serving.wire import Routing


@dataclass(slots=True)
class Token:
    """A token as shown: the text that appeared with it, who wrote it, and how probable it was if asked for."""

    id: int
    text: str
    by: Origin
    logprob: NamedLogprob | None = None


@dataclass(slots=True)
class Piece:
    """What one target run added; ``offset`` characters of the answer came before it.

    ``drafted`` tokens were proposed; ``refused`` is the one in whose place the last token stands, where known;
    ``routing`` is there if it is news.
    """

    run: int
    tokens: list[Token] = field(default_factory=list)
    offset: int = 0
    drafted: int = 0
    refused: Token | None = None
    routing: Routing | None = None

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def has_logprobs(self) -> bool:
        return any(token.logprob is not None for token in self.tokens)

    def logprobs(self) -> list[tuple[int, NamedLogprob]]:
        """Where in the answer each token's text began to appear, and its log-probability."""
        places, at = [], self.offset
        for token in self.tokens:
            if token.logprob is not None:
                places.append((at, token.logprob))
            at += len(token.text)
        return places

    def document(self) -> dict[str, Any]:
        """As it stands in a reply: pieces of text concatenate to the answer."""
        tokens = [{"id": each.id, "text": each.text, "by": each.by.value} for each in self.tokens]
        document: dict[str, Any] = {"run": self.run, "drafted": self.drafted, "tokens": tokens}
        if self.refused is not None:
            document["refused"] = {"id": self.refused.id, "text": self.refused.text}
        if self.routing is not None:
            document["routing"] = asdict(self.routing)
        return document
