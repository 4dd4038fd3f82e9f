"""The file of proposals: what is read is what was written, and damage is no proposal."""

import pytest

from configs.errors import ConfigError
from router.proposal import Proposal, Proposals, proposal_file


def proposal(name: str = "symptoms", **changes) -> Proposal:
    given = {
        "name": name,
        "centre": (0.5, 0.25),
        "radius": 0.86,
        "embedding": "stub-1",
        "requests": 80,
        "rejected": 100,
        "share": 0.6,
        "base": 0.12,
        "p_value": 1e-6,
        "words": ("symptoms", "treatments"),
        "raised": "2026-01-01T00:00:00+00:00",
    }
    return Proposal(**{**given, **changes})


def test_what_is_read_is_what_was_written(tmp_path):
    file = proposal_file(tmp_path, "toy")
    assert file.read() == Proposals()
    written = Proposals((proposal(), proposal("other", state="dismissed")), looks=3, rejected=120)
    file.write(written)
    assert file.read() == written
    assert [each.name for each in file.read().open] == ["symptoms"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"known": [{}], "looks": 0, "rejected": 0}'])
def test_a_damaged_file_holds_no_proposal(tmp_path, text):
    file = proposal_file(tmp_path, "toy")
    file.write(Proposals((proposal(),)))
    file.path.write_text(text)
    assert file.read() == Proposals()


def test_an_answered_proposal_is_open_no_more_and_looking_begins_anew():
    found = Proposals((proposal(), proposal("other")), looks=5).settled("symptoms", "accepted")
    assert [each.name for each in found.open] == ["other"]
    assert found.looks == 0
    with pytest.raises(ConfigError, match="no open proposal symptoms") as told:
        found.named("symptoms")
    assert "other" in told.value.do


def test_the_centre_is_for_programs_only():
    assert "centre" not in proposal().document()


def test_what_drifted_is_remembered(tmp_path):
    file = proposal_file(tmp_path, "toy")
    assert file.drift() == []
    assert file.drift_verdicts() == ({}, None)
    file.note_drift(["sql: queries"])
    assert file.drift() == ["sql: queries"]
    assert file.drift_verdicts()[0] == {}
    file.note_drift(["sql: queries"], {"sql": {"queries": True, "acceptance": False}, "all": {"queries": False}})
    verdicts, at = file.drift_verdicts()
    assert verdicts == {("sql", "queries"): True, ("sql", "acceptance"): False, ("all", "queries"): False}
    assert at == file.drift_path.stat().st_mtime
    assert file.drift_seen() == ""
    file.note_drift([], seen="3:17")
    assert file.drift_seen() == "3:17"
    file.drift_path.write_text('["as it was written before"]')
    assert (file.drift(), file.drift_seen(), file.drift_verdicts()) == ([], "", ({}, None))
