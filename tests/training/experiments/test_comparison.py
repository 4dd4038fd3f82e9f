"""Experiments from data to table, on a handful of texts and the starter's target."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from decoding.load import load_model
from training.experiments import arms as arms_module
from training.experiments.arms import Arm, arm_digest, first
from training.experiments.budget import QUICK
from training.experiments.comparison import Comparison, compare
from training.experiments.material import Material
from training.experiments.shapes import SIXTEENTH, Shape
from training.experiments.specialise import CONTROL, LONG_CONTROL, SPECIALISED, control, specialise, wrong_topic
from training.replay import acceptances
from training.starter.corpus import TOPICS

STARTER = Path(__file__).parents[3] / "starter" / "target"
BUDGET = replace(QUICK, text_tokens=80, held_out=3, answer_tokens=12, base_epochs=0.5, seeds=(1, 2))


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    data = tmp_path_factory.mktemp("data")
    for topic in TOPICS:
        lines = [
            {"prompt": f"{topic} question {n}", "response": f"answer {n} {topic}", "split": split}
            for split in ("train", "validation")
            for n in range(4)
        ]
        (data / f"{topic}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return Material(data, STARTER, tmp_path_factory.mktemp("work"), BUDGET)


def test_the_target_as_its_own_draft_is_always_right(material):
    """What is recorded is what the target says: replaying the target itself accepts every token."""
    target = load_model(STARTER, 4, 128)
    for temperature, by_topic in material.held_out.items():
        for traces in by_topic.values():
            assert [trace.sampling.temperature for trace in traces] == [temperature] * 3
            for accepted in acceptances(target, traces):
                assert accepted.values.min() > 1 - 1e-4


def test_a_comparison_has_a_row_for_every_draft_and_trains_each_once(material, monkeypatch):
    def two(topic: str, seed: int) -> dict[str, Arm]:
        untuned = Arm(SIXTEENTH, (), 0, 1e-3, 0)
        return {"untuned": untuned, "tuned": Arm(SIXTEENTH, ((topic, None),), 1, 1e-3, seed, start=untuned)}

    comparison = Comparison(two, "untuned", ("sql", "chat"))
    rows = compare(material, comparison)
    assert len(rows) == 2 * 2 * 2 * 2  # topics, temperatures, lengths, drafts
    assert {row["gain"] for row in rows if row["draft"] == "untuned"} == {0.0}
    assert all(row["tokens_per_target_run"] >= 1 and row["requests"] == 3 and row["seeds"] == 2 for row in rows)

    def fails(*_args, **_options):
        raise AssertionError("trained again")

    monkeypatch.setattr(arms_module, "distil", fails)
    counted = ("alpha", "tokens_per_target_run", "gain_low", "gain_high")
    again = compare(material, comparison)
    assert [[row[key] for key in counted] for row in again] == [[row[key] for key in counted] for row in rows]


def test_what_an_arm_becomes_has_a_name_of_its_own(material):
    """All that its weights depend on changes the name; how it will be scored does not."""
    arm = control(SIXTEENTH, BUDGET, 1, "sql")
    others = [
        replace(arm, paced_by=None),
        replace(arm, seed=2),
        replace(arm, shape=Shape(32, 64, head_dim=16)),
        replace(arm, start=None),
    ]
    names = {arm_digest(each, material) for each in (arm, *others)}
    more = replace(material, budget=replace(BUDGET, text_tokens=81))
    assert len({*names, arm_digest(arm, more)}) == 6
    assert arm_digest(arm, replace(material, budget=replace(BUDGET, held_out=99))) in names


def test_the_first_texts_of_answers_are_whole(material):
    answers = material.answers["sql"]
    assert len(answers) > 2
    two = first(answers, 2 / len(answers))
    assert len(two) == 2
    assert two.token_ids.tolist() == answers.token_ids[: int(answers.starts[2])].tolist()
    assert len(two.top_ids) == len(two.token_ids)
    assert len(first(answers, 1e-9)) == 1
    assert first(answers, None) is answers


def test_a_specialised_draft_sees_its_topic_only_and_the_controls_see_the_mix_as_long(material):
    compared = specialise(BUDGET).arms("sql", 1)
    own, mixed, long = compared[SPECIALISED], compared[CONTROL], compared[LONG_CONTROL]
    assert long == replace(mixed, paced_by=None)
    sizes = {topic: len(answers.token_ids) for topic, answers in material.answers.items()}
    pace = arms_module._pace(mixed, list(material.answers.values()), material)
    assert pace == pytest.approx(sizes["sql"] / sum(sizes.values()))
    assert arms_module._pace(long, list(material.answers.values()), material) == 1
    assert own.topics == (("sql", None),)
    assert own.start == mixed.start
    assert (own.epochs, own.learning_rate) == (mixed.epochs, mixed.learning_rate)
    assert {name for name, _ in mixed.topics} == set(TOPICS)


def test_the_wrong_specialist_is_never_the_right_one():
    assert all(wrong_topic(topic, seed) != topic for topic in TOPICS for seed in range(7))
