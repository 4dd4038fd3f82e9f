"""From the token ids of a recorded prompt back to the text that the router read: the user's last turn."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

_ONE, _TWO, _THREE = "@@one@@", "@@two@@", "@@three@@"  # no template touches these


class Queries:
    """Reads prompts of one target.

    Args:
        tokenizer: the target's, as transformers loads it.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._user, self._answer = _marks(tokenizer) if tokenizer.chat_template else ("", "")

    def of(self, prompt_ids: Sequence[int]) -> str:
        """The user's last turn; all of a prompt that is no conversation."""
        text: str = self._tokenizer.decode(prompt_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if self._user and self._user in text and text.endswith(self._answer):
            return text.removesuffix(self._answer).rpartition(self._user)[2]
        plain: str = self._tokenizer.decode(prompt_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return plain


def _marks(tokenizer: Any) -> tuple[str, str]:
    """What stands before every turn of the user, and after the last one."""

    def shown(*turns: tuple[str, str], ready: bool = False) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=ready, tokenize=False)
        return text

    head, _, tail = shown(("user", _ONE), ready=True).partition(_ONE)
    longer = shown(("user", _ONE), ("assistant", _TWO), ("user", _THREE))
    between = longer.partition(_TWO)[2].partition(_THREE)[0]
    # Both end as every user's turn begins; what differs before it is the beginning of the text, or the answer's end.
    alike = list(takewhile(lambda pair: pair[0] == pair[1], zip(reversed(head), reversed(between), strict=False)))
    return "".join(letter for letter, _ in reversed(alike)), tail
