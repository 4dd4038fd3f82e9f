import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import CheckpointError, IncompatibleDraft
from drafts.compatibility import check_draft, first_tokenizer_difference, tokenizer_fingerprint

VOCAB = {"<|end|>": 0, "a": 1, "b": 2, "Ġthe": 3, "ab": 4}


def _write(folder: Path, **changes: Any) -> Path:
    """A byte-level BPE tokenizer in ``folder``, with changes to its parts."""
    folder.mkdir(exist_ok=True)
    parts = {"vocab": VOCAB, "merges": [["a", "b"]], "special": True, "decoder": {"type": "ByteLevel"}, **changes}
    document = {
        "added_tokens": [{"id": 0, "content": "<|end|>", "special": parts["special"]}],
        "decoder": parts["decoder"],
        "model": {"type": "BPE", "vocab": parts["vocab"], "merges": parts["merges"]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The target's folder."""
    return _write(tmp_path / "target")


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """A draft with another token 3."""
    return _write(tmp_path / "draft", vocab={**{token: i for token, i in VOCAB.items() if i != 3}, "Ġth": 3})


def test_the_fingerprint_ignores_how_the_file_is_written(target: Path, tmp_path: Path) -> None:
    """Order of keys, old-style merges, and listing a special token once or twice make no difference."""
    other = _write(
        tmp_path / "other",
        vocab=dict(reversed([(token, i) for token, i in VOCAB.items() if i])),
        merges=["a b"],
        decoder=None,
    )
    assert tokenizer_fingerprint(other) == tokenizer_fingerprint(target)
    assert len(tokenizer_fingerprint(target)) == 64
    assert first_tokenizer_difference(target, other) is None


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"vocab": {**VOCAB, "ab": 5}}, 'id 4 is "ab" here, missing there'),
        ({"vocab": {**VOCAB, "Ã©": 5}}, 'id 5 is missing here, "é" there'),
        ({"special": False}, 'id 0 ("<|end|>") is special here, ordinary there'),
        ({"merges": [["b", "a"]]}, 'merge 0 is "a b" here, "b a" there'),
        ({"merges": []}, 'merge 0 is "a b" here, missing there'),
    ],
)
def test_every_kind_of_difference_changes_the_fingerprint_and_is_named(
    target: Path, tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    """Vocabulary, special tokens and merges all count."""
    other = _write(tmp_path / "other", **changes)
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(target)
    assert first_tokenizer_difference(target, other) == difference


def test_tokens_are_shown_as_text(target: Path, draft: Path) -> None:
    """Byte-level letters are turned back into what people read."""
    assert first_tokenizer_difference(target, draft) == 'id 3 is " the" here, " th" there'


def test_a_unigram_tokenizer_is_read_too(tmp_path: Path) -> None:
    """A list of tokens with scores has ids by position."""
    folders = []
    for name, last in (("one", "▁the"), ("two", "▁th")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": [["<unk>", 0.0], [last, -1.0]]}}))
        folders.append(folder)
    assert first_tokenizer_difference(*folders) == 'id 1 is " the" here, " th" there'


def test_a_changed_file_has_a_new_fingerprint(target: Path) -> None:
    """Fingerprints are remembered only as long as the file stays as it is."""
    before = tokenizer_fingerprint(target)
    _write(target, merges=[])
    assert tokenizer_fingerprint(target) != before


def test_a_draft_of_another_tokenizer_is_refused_with_the_first_difference(target: Path, draft: Path) -> None:
    """The whole error, as people see it."""
    with pytest.raises(IncompatibleDraft) as caught:
        check_draft(draft, target, {"topic": "sql", "target": "1f0c5555aa"}, label="sql@v3")
    assert str(caught.value) == (
        "sql@v3 was made for another tokenizer; it cannot serve this target\n"
        '  first difference: id 3 is " the" here, " th" there\n'
        "  do: polydraft distill --topic sql     or serve the target it was made for (1f0c5555)"
    )


def test_tags_are_believed_where_the_draft_has_no_tokenizer(target: Path, tmp_path: Path) -> None:
    """A draft without tokenizer files is held against the fingerprint of its version."""
    bare = tmp_path / "bare"
    bare.mkdir()
    check_draft(bare, target, {"tokenizer": tokenizer_fingerprint(target)})
    with pytest.raises(IncompatibleDraft, match="another tokenizer") as caught:
        check_draft(bare, target, {"tokenizer": "ffff000011"})
    assert caught.value.facts == (f"fingerprint {tokenizer_fingerprint(target)[:8]} here, ffff0000 there",)
    with pytest.raises(CheckpointError, match=r"bare has no tokenizer\.json"):
        check_draft(bare, target, {})


def test_a_draft_of_another_target_is_refused(target: Path) -> None:
    """The same tokenizer is not enough: figures of a draft hold for the weights it was made for."""
    check_draft(target, target, {"target": "aaaa"}, target_fingerprint="aaaa")
    check_draft(target, target, {}, target_fingerprint="aaaa")
    with pytest.raises(IncompatibleDraft, match="sql@v3 was made for another target") as caught:
        check_draft(target, target, {"target": "bbbb"}, label="sql@v3", target_fingerprint="aaaa")
    assert caught.value.facts == ("fingerprint aaaa here, bbbb there",)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {"vocab": {"a": "x"}}}'])
def test_a_damaged_tokenizer_is_told(tmp_path: Path, text: str) -> None:
    """The file is named; nothing else is raised."""
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not"):
        tokenizer_fingerprint(tmp_path)
