"""The bytes that single tokens stand for, as log-probabilities report them."""

import re
from typing import Any

from tokenizers import decoders

_ONE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's byte fallback
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's


class TokenBytes:
    """Looks tokens up in a tokenizer's vocabulary.

    Decoding a token by itself would not do: bytes of a character that several tokens share are lost, and some
    tokenizers drop a leading space.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._added = {int(token_id): str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
        is_byte_level = tokenizer.is_fast and isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel)
        self._letters = _byte_letters() if is_byte_level else None

    def __getitem__(self, token_id: int) -> bytes:
        """Bytes of a token; an added token (a special one, say) is its own name, an unused id nothing."""
        if token_id in self._added:
            return self._added[token_id].encode()
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token_id)
        if piece is None:
            return b""
        if self._letters is not None and all(letter in self._letters for letter in piece):
            return bytes(self._letters[letter] for letter in piece)
        if match := _ONE_BYTE.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return piece.replace(_SPACE, " ").encode()


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies (GPT-2): itself if it can be printed."""
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in printed]
    return {
        **{chr(byte): byte for byte in printed},
        **{chr(0x100 + number): byte for number, byte in enumerate(others)},
    }
