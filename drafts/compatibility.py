"""Does this draft speak the target's language? Fingerprints, and the first difference in words.

A draft guesses token ids, so it needs the very tokenizer of the target, and it was distilled from one
set of weights, so another target makes its figures meaningless. Only ``tokenizer.json`` is read:
vocabulary, merges and special tokens count, how the file is written does not.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from configs.errors import CheckpointError, IncompatibleDraft


@dataclass(frozen=True)
class Vocabulary:
    """What the token ids of a tokenizer mean, and how text becomes them."""

    tokens: dict[int, str]
    special: frozenset[int]
    merges: tuple[tuple[str, str], ...]
    byte_level: bool


def tokenizer_fingerprint(folder: Path) -> str:
    """SHA-256 over sorted vocabulary, merges and special tokens of ``folder/tokenizer.json``, in hex.

    Raises:
        CheckpointError: there is no ``tokenizer.json``, or it cannot be read.
    """
    file = folder / "tokenizer.json"
    # Every draft of a pool is held against the same target: read a file once, not once a draft.
    stamp = (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else (0, 0)
    return _fingerprint(folder, stamp)


@lru_cache(maxsize=64)
def _fingerprint(folder: Path, _stamp: tuple[int, int]) -> str:
    vocabulary = read_vocabulary(folder)
    document = [sorted(vocabulary.tokens.items()), sorted(vocabulary.special), vocabulary.merges]
    return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()


def first_tokenizer_difference(here: Path, there: Path) -> str | None:
    """The first difference between two tokenizers, as in ``id 259 is " the" here, " th" there``.

    Raises:
        CheckpointError: a folder has no usable ``tokenizer.json``.
    """
    ours, theirs = read_vocabulary(here), read_vocabulary(there)
    for token_id in sorted(ours.tokens.keys() | theirs.tokens.keys()):
        if ours.tokens.get(token_id) != theirs.tokens.get(token_id):
            return f"id {token_id} is {_shown(ours, token_id)} here, {_shown(theirs, token_id)} there"
    for token_id in sorted(ours.special ^ theirs.special):
        places = ("special", "ordinary") if token_id in ours.special else ("ordinary", "special")
        return f"id {token_id} ({_shown(ours, token_id)}) is {places[0]} here, {places[1]} there"
    for index, (one, other) in enumerate(zip_longest(ours.merges, theirs.merges)):
        if one != other:
            return f"merge {index} is {_pair(one)} here, {_pair(other)} there"
    return None


def check_draft(
    draft_folder: Path,
    target_folder: Path,
    tags: Mapping[str, str],
    *,
    label: str = "",
    target_fingerprint: str | None = None,
) -> None:
    """Return if the draft may propose for the target.

    Args:
        tags: of the draft's version; ``topic``, ``tokenizer`` and ``target`` (fingerprints) are read. Without
            ``tokenizer`` the draft's own files are compared; without ``target`` its weights go unchecked.
        label: how to call the draft, such as ``sql@v3``; else its folder's name.
        target_fingerprint: of the target's weights, if known.

    Raises:
        IncompatibleDraft: it was made for another tokenizer or another target.
        CheckpointError: a folder has no usable ``tokenizer.json``.
    """
    name = label or draft_folder.name
    topic = tags.get("topic") or name.partition("@")[0]
    made_for = tags.get("target")
    remedy = f"polydraft distill --topic {topic}     or serve the target it was made for{_short(made_for)}"
    expected = tokenizer_fingerprint(target_folder)
    own_files = (draft_folder / "tokenizer.json").is_file()
    if tags.get("tokenizer", expected) != expected or (own_files and tokenizer_fingerprint(draft_folder) != expected):
        difference = first_tokenizer_difference(target_folder, draft_folder) if own_files else None
        fact = f"first difference: {difference}" if difference else _fingerprints(expected, tags.get("tokenizer", ""))
        raise IncompatibleDraft(
            f"{name} was made for another tokenizer; it cannot serve this target", do=remedy, facts=(fact,)
        )
    if not own_files and "tokenizer" not in tags:
        read_vocabulary(draft_folder)  # nothing says which tokenizer: name the missing file
    if made_for is not None and target_fingerprint is not None and made_for != target_fingerprint:
        raise IncompatibleDraft(
            f"{name} was made for another target; it cannot serve this one",
            do=remedy,
            facts=(_fingerprints(target_fingerprint, made_for),),
        )


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read ``folder/tokenizer.json``.

    Raises:
        CheckpointError: it is missing, no JSON, or of a form that is not known.
    """
    file = folder / "tokenizer.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return _vocabulary(document)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} has no tokenizer.json",
            do="save it there: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is not a tokenizer of the tokenizers library", do="save it again") from error


def _vocabulary(document: dict[str, Any]) -> Vocabulary:
    model, added = document["model"], document.get("added_tokens") or []
    # A dict token -> id (BPE, WordPiece, WordLevel), or a list of [token, score] (Unigram).
    vocab = model["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else ((entry[0], index) for index, entry in enumerate(vocab))
    tokens = {int(token_id): str(token) for token, token_id in pairs}
    tokens.update({int(token["id"]): str(token["content"]) for token in added})
    # Older files write a merge as "a b", newer ones as ["a", "b"].
    merges = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model.get("merges") or [])
    return Vocabulary(
        tokens=tokens,
        special=frozenset(int(token["id"]) for token in added if token.get("special")),
        merges=tuple((str(left), str(right)) for left, right in merges),
        byte_level='"ByteLevel"' in json.dumps([document.get("pre_tokenizer"), document.get("decoder")]),
    )


def _shown(vocabulary: Vocabulary, token_id: int) -> str:
    token = vocabulary.tokens.get(token_id)
    if token is None:
        return "missing"
    if vocabulary.byte_level and all(letter in _byte_letters() for letter in token):
        token = bytes(_byte_letters()[letter] for letter in token).decode("utf-8", errors="replace")
    return json.dumps(token.replace("▁", " "), ensure_ascii=False)  # SentencePiece's sign for a space


@cache
def _byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte, reversed."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


def _pair(merge: tuple[str, str] | None) -> str:
    return "missing" if merge is None else json.dumps(" ".join(merge), ensure_ascii=False)


def _short(fingerprint: str | None) -> str:
    return f" ({fingerprint[:8]})" if fingerprint else ""


def _fingerprints(here: str, there: str) -> str:
    return f"fingerprint {here[:8]} here, {there[:8]} there"
