"""Between text and token ids: the target's tokenizer, its chat template, and incremental detokenisation."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from configs.errors import CheckpointError, RequestError
from serving.token_bytes import TokenBytes

_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_REPLACEMENT = "\ufffd"
_MOST_HELD_TOKENS = 8  # a character is at most four bytes, so more tokens than this are no character


class TextCodec:
    """The tokenizer of one target.

    Raises:
        CheckpointError: the folder holds no tokenizer that transformers can read.
    """

    def __init__(self, folder: Path | str):
        try:
            self._tokenizer = _load_tokenizer(Path(folder))
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"no usable tokenizer in {folder}", facts=(reason,)) from error
        self._decode_fast = _fast_decode(self._tokenizer)
        self.vocab_size = len(self._tokenizer)
        self.token_bytes = TokenBytes(self._tokenizer)
        # No text of more characters than this a token can fit, so it is refused without being tokenised.
        self.longest_token = max(map(len, self._tokenizer.get_vocab()))

    @property
    def has_chat_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    @property
    def end_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        end = self._tokenizer.eos_token_id
        return frozenset() if end is None else frozenset([int(end)])

    def encode(self, text: str) -> list[int]:
        """Token ids of a plain prompt."""
        ids: list[int] = self._tokenizer.encode(text)
        return ids

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids of a conversation of (role, text) pairs, ready for the assistant's next words.

        Raises:
            RequestError: the target has no chat template, or it refuses the conversation.
        """
        if not self.has_chat_template:
            raise RequestError("this model has no chat template", do="use /v1/completions", param="messages")
        turns = [{"role": role, "content": text} for role, text in messages]
        try:
            rendered = self._tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except (TemplateError, ValueError) as error:
            raise RequestError(f"the model's chat template refuses these messages: {error}", param="messages") from None
        return list(rendered)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids without special tokens."""
        if self._decode_fast is not None:
            return self._decode_fast(list(token_ids), skip_special_tokens=True)
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def detokenizer(self, prompt_token_ids: Sequence[int]) -> "Detokenizer":
        """A stream of text for the tokens that follow ``prompt_token_ids``."""
        return Detokenizer(self, prompt_token_ids)


def _load_tokenizer(folder: Path) -> Any:
    # Importing transformers takes seconds, and AutoTokenizer more of them: it reads every model class to
    # find the one that is named here anyway.
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if config.get("tokenizer_class") in _PLAIN_CLASSES:
        return PreTrainedTokenizerFast.from_pretrained(str(folder))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def _fast_decode(tokenizer: Any) -> Callable[..., str] | None:
    """The Rust function behind ``decode``, at a fifth of the time; None where transformers does more than call it."""
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    kind = type(tokenizer)
    is_plain = getattr(kind, "_decode", None) is PreTrainedTokenizerFast._decode
    if not is_plain or kind.decode is not PreTrainedTokenizerBase.decode:
        return None
    decode: Callable[..., str] = tokenizer.backend_tokenizer.decode
    return decode


class Detokenizer:
    """Turns tokens into text piece by piece; the pieces concatenate to the whole.

    A token that ends inside a character yields nothing; the one that completes it yields all of it.
    Tokens are decoded behind a few earlier ones, because some tokenizers drop a leading space.
    """

    def __init__(self, codec: TextCodec, prompt_token_ids: Sequence[int]):
        self._codec = codec
        self._context = list(prompt_token_ids[-4:])
        self._held: list[int] = []

    def feed(self, token_id: int) -> str:
        """The text that ``token_id`` completes."""
        self._held.append(token_id)
        piece = self._pending()
        if piece.endswith(_REPLACEMENT) and len(self._held) < _MOST_HELD_TOKENS:
            return ""
        self._context, self._held = self._held, []
        return piece

    def flush(self) -> str:
        """What is left at the end, less a character that was never completed."""
        piece = self._pending().rstrip(_REPLACEMENT) if self._held else ""
        self._held = []
        return piece

    def _pending(self) -> str:
        known = self._codec.decode(self._context)
        return self._codec.decode(self._context + self._held)[len(known) :]
