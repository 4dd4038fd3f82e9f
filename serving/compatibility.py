"""Whether a draft can propose for a target: same vocabulary, token by token."""

import json
from pathlib import Path
from typing import Any

from configs.errors import IncompatibleDraft
from decoding.checkpoint import read_config
from decoding.config import ModelConfig
from drafts.pool import DraftSpec

_DO = "distil the draft for this target, or serve the target that it was made for"


def check_draft(spec: DraftSpec, target: Path, target_config: ModelConfig) -> None:
    """Compare a draft's folder with the target's.

    Raises:
        IncompatibleDraft: naming the first difference.
    """
    config = read_config(spec.folder)
    if config.vocab_size != target_config.vocab_size:
        raise IncompatibleDraft(
            f"draft {spec.label} has {config.vocab_size} tokens, the target {target_config.vocab_size}", do=_DO
        )
    ours, theirs = _vocabulary(spec.folder), _vocabulary(target)
    if not ours or not theirs or ours == theirs:
        return
    token_id = next(i for i in range(config.vocab_size) if ours.get(i) != theirs.get(i))
    raise IncompatibleDraft(
        f"draft {spec.label} was made for another tokenizer",
        do=_DO,
        facts=(f"first difference: id {token_id} is {theirs.get(token_id)!r} here, {ours.get(token_id)!r} there",),
    )


def _vocabulary(folder: Path) -> dict[int, str]:
    """Token by id, empty where the folder has no tokenizer.json (a draft need not bring one)."""
    file = folder / "tokenizer.json"
    if not file.exists():
        return {}
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = document["model"]["vocab"]
    pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((row[0], i) for i, row in enumerate(vocabulary))
    tokens = {int(token_id): str(token) for token, token_id in pairs}
    return tokens | {int(added["id"]): str(added["content"]) for added in document.get("added_tokens", [])}
