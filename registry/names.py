"""Names of models, references to versions, and the short labels that people read.

::

    registered model   starter-draft-sql   starter-router
    reference          registry://starter-draft-sql@champion   registry://starter-draft-sql@v3
    label              sql@v3              router@v4
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from configs.errors import RegistryError

SCHEME = "registry://"
CHAMPION = "champion"  # what serves
CHALLENGER = "challenger"  # what hopes to
_VERSION = re.compile(r"v?([1-9][0-9]*)")
_ALIAS = re.compile(r"(?!v[0-9]+$)[A-Za-z_-][A-Za-z0-9_-]*")  # MLflow reserves v1, v2, ...
_FORM = "write registry://NAME@champion or registry://NAME@v3"


@dataclass(frozen=True)
class Reference:
    """One version of a model: by number, or by the alias that points to it now."""

    model: str
    alias: str | None
    version: int | None

    def __str__(self) -> str:
        return f"{SCHEME}{self.model}@{self.alias or f'v{self.version}'}"

    @classmethod
    def parse(cls, text: str, prefix: str = "starter") -> "Reference":
        """Read ``registry://NAME@WHICH``, or the label ``TOPIC@WHICH`` of a deployment called ``prefix``.

        Raises:
            RegistryError: the text is neither.
        """
        name, separator, which = text.removeprefix(SCHEME).rpartition("@")
        if not separator or not name or not which:
            raise RegistryError(f"{text!r} does not name a version", do=_FORM)
        model = name if text.startswith(SCHEME) else model_of(prefix, name)
        if number := _VERSION.fullmatch(which):
            return cls(model, None, int(number.group(1)))
        if not _ALIAS.fullmatch(which):
            raise RegistryError(f"{which!r} in {text!r} is neither an alias nor a version", do=_FORM)
        return cls(model, which, None)


def draft_model(prefix: str, topic: str) -> str:
    """``starter-draft-sql``."""
    return f"{prefix}-draft-{topic}"


def router_model(prefix: str) -> str:
    """``starter-router``."""
    return f"{prefix}-router"


def model_of(prefix: str, short: str) -> str:
    """The registered model that a short name means: ``router``, or the topic of a draft."""
    return router_model(prefix) if short == "router" else draft_model(prefix, short)


def short_name(model: str) -> str:
    """``sql`` of ``starter-draft-sql``, ``router`` of ``starter-router``; other names as they are."""
    _, separator, topic = model.partition("-draft-")
    if separator:
        return topic
    return "router" if model.endswith("-router") else model


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like ``name``, if one does."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None
