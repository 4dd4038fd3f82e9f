"""The whole recipe on a handful of made-up texts: what ships is complete, and a second run repeats nothing."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from decoding.checkpoint import fingerprint, read_config
from drafts.compatibility import check_draft
from registry.starter import read_starter
from training.starter import build as recipe
from training.starter.corpus import TOPICS

TINY = dataclasses.replace(
    recipe.QUICK, examples=10, text_tokens=80, held_out=3, answer_tokens=8, general_epochs=1, topic_epochs=1
)


def write_corpus(folder: Path) -> Path:
    folder.mkdir()
    for topic in TOPICS:
        lines = [
            {
                "topic": topic,
                "prompt": f"{topic} question {number}?",
                "response": f"The {topic} answer is {number * number}.",
                "split": "validation" if number % 4 == 0 else "train",
            }
            for number in range(16)
        ]
        (folder / f"{topic}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture
def no_router(monkeypatch):
    """The router has tests of its own; here a folder stands in for it."""

    def stand_in(_data, folder, _cache, quick=False):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "router.json").write_text("{}")

    monkeypatch.setattr(recipe, "build_router", stand_in)
    monkeypatch.setattr(recipe, "QUICK", TINY)


@pytest.mark.slow
def test_the_recipe_ships_a_target_its_drafts_and_a_card(tmp_path, no_router, monkeypatch):
    """Target and seven drafts load in transformers, fit each other and the registry; again is instant and equal."""
    data = write_corpus(tmp_path / "data")
    ship = recipe.build(data, tmp_path / "work", epochs=1, quick=True)
    manifest = json.loads((ship / "starter.json").read_text())
    assert manifest["topics"] == list(TOPICS)
    assert len(read_starter(ship)) == len(TOPICS) + 2
    for name, folder in manifest["drafts"].items():
        model = AutoModelForCausalLM.from_pretrained(ship / folder)
        assert model.dtype == torch.float16
        kept = read_config(ship / folder).output_token_ids
        assert kept is not None
        assert len(kept) < 512
        check_draft(
            ship / folder, ship / "target", manifest["tags"][name], target_fingerprint=fingerprint(ship / "target")
        )
    assert AutoModelForCausalLM.from_pretrained(ship / "target").dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(ship / "target")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|user|>hi<|assistant|>"
    assert all(topic in (ship / "MODEL_CARD.md").read_text() for topic in TOPICS)

    before = {file: file.read_bytes() for file in ship.rglob("*.safetensors")}

    def fail(*_args, **_kwargs):
        raise AssertionError("a finished stage ran again")

    monkeypatch.setattr("training.starter.pretrain._train_step", fail)
    monkeypatch.setattr("training.distillation.trainer._Job._step", fail)
    monkeypatch.setattr("training.starter.answers.StepLoop.run", fail)
    assert recipe.build(data, tmp_path / "work", epochs=1, quick=True) == ship
    assert {file: file.read_bytes() for file in ship.rglob("*.safetensors")} == before
