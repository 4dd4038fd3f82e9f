"""The report on a new topic: what is said where no proposal came, and the picture where one did."""

from pathlib import Path

from benchmarks.newtopic import Seen, _rows, draw_newtopic
from benchmarks.newtopic_stage import NAME, Stage
from training.experiments.budget import QUICK
from training.experiments.material import Material

STARTER = Path(__file__).parents[2] / "starter" / "target"


def stage(tmp_path) -> Stage:
    return Stage(Material(tmp_path, STARTER, tmp_path / "work", QUICK), tmp_path, "medical", lambda _: None)


def test_without_a_proposal_the_bar_is_not_met_and_nothing_more_is_claimed(tmp_path):
    rows = _rows(stage(tmp_path), None, None, Seen(false_proposals=1))
    assert [(row["shown"], row["met"]) for row in rows] == [("1", False), ("no proposal", False)]


def test_the_late_topic_is_in_nothing_that_is_made_before_it_comes(tmp_path):
    found = stage(tmp_path)
    assert "medical" not in dict(found.pooled().topics)
    assert set(found.deployment.drafts.topics) == set(found.others) == {"sql", "math", "python", "shell", "chat"}
    assert found.deployment.drafts.follow
    assert found.deployment.name == NAME


def test_the_picture_shows_the_drafts(tmp_path):
    alphas = {"general draft": 0.3, "new draft": 0.6, "specialised draft": 0.63}
    draw_newtopic([{"what": f"alpha of the {name}", "value": value} for name, value in alphas.items()]).savefig(
        tmp_path / "picture.png"
    )
    assert (tmp_path / "picture.png").stat().st_size > 1000
