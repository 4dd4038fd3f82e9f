import shutil
from pathlib import Path
from typing import Any

import pytest

from configs.errors import CheckpointError, ConfigError, IncompatibleDraft
from decoding.acceptance import Prior
from decoding.checkpoint import fingerprint
from decoding.proposal import Scheme
from drafts.expansion import Expansion
from serving.config import Deployment
from serving.deployment import Resolved
from serving.plan import Plan, check_version, make_plan, prior_of
from tests.serving.toy_folder import write_model, write_tokenizer


def plan(toy: Path, **sections: Any) -> Plan:
    defaults: dict[str, Any] = {
        "target": {"model": str(toy), "max_length": 64},
        "drafts": {"general": None, "topics": {}},
        "router": None,
    }
    return make_plan(Deployment.model_validate({**defaults, **sections}))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"alpha": "0.7", "alpha_t1": "0.6"}, Prior(0.7, 0.6)),
        ({"alpha": "0.7", "acceptance_by_position": "0.70 0.50 0.51"}, Prior(0.7, None, (0.7, 0.5, 0.5))),
        ({"alpha": "0.7", "acceptance_by_position": "0.7 0.1 0.0 0.0"}, Prior(0.7, None, (0.7, 0.1))),
        ({"alpha": "0.7", "alpha_t1": "nan", "acceptance_by_position": "high"}, Prior(0.7)),
        ({"alpha": "1.2", "alpha_t1": "0.6"}, Prior()),
        ({"alpha_t1": "0.6"}, Prior()),
    ],
)
def test_figures_of_a_version_are_what_its_requests_start_from(tags: dict[str, str], expected: Prior) -> None:
    """At both temperatures and by position; what is no chance is left out."""
    assert prior_of(tags) == expected


def with_draft(toy: Path, draft: Path) -> Plan:
    return plan(toy, drafts={"general": None, "topics": {"sql": {"model": str(draft)}}})


class TestMakePlan:
    def test_folders_are_taken_as_they_are(self, toy: Path) -> None:
        """A draft without a version is called by its name."""
        made = with_draft(toy, toy)
        assert made.target == toy
        assert made.drafts["sql"].label == "sql"
        assert made.draft_names == ("sql", "lookup")
        assert made.end_token_ids == {0}

    def test_a_missing_folder_is_named(self, toy: Path) -> None:
        """Before anything is started."""
        with pytest.raises(CheckpointError, match="there is no folder /nope"):
            with_draft(toy, Path("/nope"))

    def test_a_draft_with_another_vocabulary_is_refused(self, toy: Path, tmp_path: Path) -> None:
        """Its guesses would mean other words."""
        write_tokenizer(tmp_path)
        text = (tmp_path / "tokenizer.json").read_text().replace('"?"', '"!"')
        (tmp_path / "tokenizer.json").write_text(text)
        write_model(tmp_path, seed=1)
        with pytest.raises(IncompatibleDraft, match="another tokenizer") as raised:
            with_draft(toy, tmp_path)
        assert "first difference" in raised.value.facts[0]

    def test_a_draft_with_fewer_embeddings_is_refused(self, toy: Path, tmp_path: Path) -> None:
        """Even with the right tokenizer beside it."""
        shutil.copy(toy / "tokenizer.json", tmp_path / "tokenizer.json")
        write_model(tmp_path, vocab_size=20)
        with pytest.raises(IncompatibleDraft, match="20 token embeddings"):
            with_draft(toy, tmp_path)

    def test_a_topic_cannot_look_like_several(self, toy: Path) -> None:
        """Joined names ask for several drafts at once."""
        with pytest.raises(ConfigError, match="joins the names"):
            plan(toy, drafts={"general": None, "topics": {"sql+math": {"model": str(toy)}}})

    def test_a_tree_needs_a_draft_to_grow_it(self, toy: Path) -> None:
        """With prompt lookup alone the key would do nothing."""
        with pytest.raises(ConfigError, match="no draft to grow it"):
            plan(toy, decoding={"tree": [4, 2, 2]})
        drafts = {"general": {"model": str(toy)}, "topics": {}}
        made = plan(toy, decoding={"tree": [4, 1], "draws": "paths"}, drafts=drafts)
        assert made.expansion == Expansion((4, 1), Scheme.PATHS)
        assert plan(toy, drafts=drafts).expansion is None

    def test_a_topic_cannot_take_the_name_of_prompt_lookup(self, toy: Path) -> None:
        """Clients ask for it by that name."""
        with pytest.raises(ConfigError, match="lookup"):
            plan(toy, drafts={"general": None, "topics": {"lookup": {"model": str(toy)}}})

    def test_more_length_than_the_model_has_is_refused(self, toy: Path) -> None:
        """Its positions end there."""
        with pytest.raises(ConfigError, match="holds 8192 tokens"):
            plan(toy, target={"model": str(toy), "max_length": 10_000})


def test_a_target_is_hashed_once_for_all_versions_that_come(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as its files are the same: reading it takes longer than all else that is asked of a version."""
    target = shutil.copytree(toy, tmp_path / "target")
    hashed: list[Path] = []

    def count(folder: Path) -> str:
        hashed.append(folder)
        return fingerprint(folder)

    monkeypatch.setattr("serving.plan.fingerprint", count)
    deployment = Deployment.model_validate({"target": {"model": str(target), "max_length": 64}})
    draft = Resolved(target, "sql@v2", {"target": fingerprint(target)})
    for _ in range(3):
        check_version(deployment, draft)
    assert hashed == [target]
    write_model(target, seed=5)
    with pytest.raises(IncompatibleDraft, match="another target"):
        check_version(deployment, draft)
    assert len(hashed) == 2
