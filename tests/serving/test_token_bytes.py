from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from serving.text import TextCodec
from serving.token_bytes import TokenBytes
from tests.serving.toy_folder import LETTERS

STARTER = Path(__file__).parents[2] / "starter" / "target"


class TestTokenBytes:
    @pytest.mark.parametrize("text", [LETTERS, "the one, in a", "é€€é"])
    def test_the_bytes_of_the_tokens_are_those_of_the_text(self, codec: TextCodec, text: str) -> None:
        """Also where several tokens share a character."""
        assert b"".join(codec.token_bytes[token_id] for token_id in codec.encode(text)) == text.encode()

    def test_every_token_of_the_starter_has_bytes(self) -> None:
        """All 256 bytes are tokens, and any text is the sum of its tokens."""
        codec = TextCodec(STARTER)
        known = {codec.token_bytes[token_id] for token_id in range(codec.vocab_size)}
        assert {bytes([byte]) for byte in range(256)} <= known
        text = "naïve \N{GRINNING FACE}\n\tSELECT 'ß' -- 漢字"
        assert b"".join(codec.token_bytes[token_id] for token_id in codec.encode(text)) == text.encode()

    def test_special_tokens_are_called_by_their_name(self, codec: TextCodec) -> None:
        """They have no text of their own; ids beyond the vocabulary, which padded heads have, are nothing."""
        assert codec.token_bytes[0] == b"<|end|>"
        assert codec.token_bytes[10**6] == b""

    def test_sentencepiece_vocabularies_are_understood(self) -> None:
        """A word's leading space and single bytes are written differently there."""
        space = "\N{LOWER ONE EIGHTH BLOCK}"
        vocabulary = {f"{space}the": 0, "Ġa": 1, "<0x0A>": 2, "<unk>": 3}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        tokenizer.decoder = decoders.Sequence([decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse()])
        names = TokenBytes(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
        assert [names[token_id] for token_id in range(3)] == [b" the", "Ġa".encode(), b"\n"]
