import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import CheckpointError, RequestError
from serving.text import TextCodec, _fast_decode
from tests.serving.toy_folder import LETTERS, write_tokenizer


def pieces(codec: TextCodec, token_ids: list[int]) -> list[str]:
    stream = codec.detokenizer([])
    return [*(stream.feed(token_id) for token_id in token_ids), stream.flush()]


class TestDetokenizer:
    def test_a_character_of_several_tokens_appears_when_it_is_complete(self, codec: TextCodec) -> None:
        """Half a character is never shown."""
        token_ids = codec.encode("a€b")
        assert len(token_ids) == 5
        assert pieces(codec, token_ids) == ["a", "", "", "€", "b", ""]

    def test_a_character_cut_off_at_the_end_is_dropped(self, codec: TextCodec) -> None:
        """The answer ended in the middle of it."""
        assert "".join(pieces(codec, codec.encode("a€")[:-1])) == "a"

    def test_special_tokens_have_no_text(self, codec: TextCodec) -> None:
        """Nobody wants to read them."""
        [end] = codec.end_token_ids
        assert pieces(codec, [*codec.encode("a"), end, *codec.encode("b")]) == ["a", "", "b", ""]

    @given(text=st.text(alphabet=LETTERS, max_size=30))
    def test_pieces_concatenate_to_the_text(self, codec: TextCodec, text: str) -> None:
        """Token by token is as good as all at once."""
        assert "".join(pieces(codec, codec.encode(text))) == text

    @given(token_ids=st.lists(st.integers(3, 70), max_size=30))
    def test_no_piece_ends_in_half_a_character(self, codec: TextCodec, token_ids: list[int]) -> None:
        """Whatever a model says, even bytes that are no text, what is shown stays shown."""
        parts = pieces(codec, token_ids)
        whole = codec.decode(token_ids).rstrip("\ufffd")
        if "\ufffd" not in whole:
            assert "".join(parts).rstrip("\ufffd") == whole


class TestTextCodec:
    def test_a_conversation_ends_where_the_assistant_begins(self, codec: TextCodec) -> None:
        """The chat template adds the generation prompt."""
        ids = codec.encode_chat([("system", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")])
        assert codec.decode(ids) == "abcd"
        assert ids[-1] == 2

    def test_a_model_without_a_chat_template_refuses_conversations(self, tmp_path: Path) -> None:
        """And says what to use instead."""
        write_tokenizer(tmp_path, chat_template=None)
        with pytest.raises(RequestError, match="no chat template") as raised:
            TextCodec(tmp_path).encode_chat([("user", "hi")])
        assert raised.value.param == "messages"

    def test_a_template_that_refuses_is_the_clients_error(self, tmp_path: Path) -> None:
        """Some templates raise on roles that they do not know."""
        write_tokenizer(tmp_path, chat_template="{{ raise_exception('no system role') }}")
        with pytest.raises(RequestError, match="no system role"):
            TextCodec(tmp_path).encode_chat([("user", "hi")])

    def test_a_folder_without_tokenizer_is_a_checkpoint_error(self, tmp_path: Path) -> None:
        """One line, whatever transformers says."""
        with pytest.raises(CheckpointError, match="no usable tokenizer"):
            TextCodec(tmp_path)


def test_the_short_way_to_text_gives_what_transformers_gives(codec: TextCodec) -> None:
    """Special tokens, halves of characters and ids of no token, too."""
    assert codec._decode_fast is not None
    draws = random.Random(1)
    for length in range(40):
        token_ids = [draws.randrange(codec.vocab_size + 2) for _ in range(length)]
        expected = codec._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert codec.decode(token_ids) == expected


def test_a_tokenizer_with_a_way_of_its_own_keeps_it(codec: TextCodec, toy: Path) -> None:
    """Some do more to a text than their Rust half."""

    class Shouting(type(codec._tokenizer)):  # type: ignore[misc]
        def decode(self, *arguments: Any, **options: Any) -> str:
            return str(super().decode(*arguments, **options)).upper()

    assert _fast_decode(Shouting.from_pretrained(str(toy))) is None
