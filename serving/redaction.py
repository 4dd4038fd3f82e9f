"""Which answers must leave no trace: what the deployment's patterns, or a function of its own, find in their text.

A trace is withheld whole. Its tokens cannot be blanked one by one: the probabilities beside them, and those of all
that follows, would still tell what stood there.
"""

import importlib
import logging
import re
from collections.abc import Callable, Sequence

from configs.errors import ConfigError
from decoding.trace import SpeculationTrace

logger = logging.getLogger(__name__)

Keep = Callable[[str, str], bool]  # prompt and answer -> whether the trace may be kept


class Redactor:
    """Says of a trace whether it may be kept.

    Args:
        patterns: regular expressions; a prompt or an answer in which one is found is withheld.
        keep: asked about those in which none is.
        decode: token ids to text.
    """

    def __init__(self, patterns: Sequence[str], keep: Keep | None, decode: Callable[[Sequence[int]], str]):
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._keep, self._decode = keep, decode

    def __call__(self, trace: SpeculationTrace) -> bool:
        return self.allows(self._decode(trace.token_ids[: trace.prompt_length]), self._decode(trace.answer_ids))

    def allows(self, prompt: str, answer: str) -> bool:
        """Whether these may be kept."""
        for pattern in self._patterns:
            # What begins in the prompt may end in the answer.
            if pattern.search(prompt) or pattern.search(answer) or pattern.search(prompt + answer):
                return False
        try:
            return self._keep is None or bool(self._keep(prompt, answer))
        # It is somebody else's code. Where it cannot decide nothing is kept, and the log does not say of what.
        except Exception as error:  # noqa: BLE001
            logger.error("traces.redact_with failed with %s; the trace is withheld", type(error).__name__)
            return False


def function_called(name: str) -> Keep:
    """The function behind ``package.module:function``.

    Raises:
        ConfigError: it cannot be imported or called.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        do = "write package.module:function, of something that this Python can import"
        raise ConfigError(f"traces.redact_with {name}: {error}", do=do) from error
    if not callable(found):
        raise ConfigError(f"traces.redact_with {name} is no function", do="name one that takes prompt and answer")
    keep: Keep = found
    return keep
