import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import RegistryError
from registry.aliases import PREVIOUS, SINCE, AliasMoved
from registry.names import CHALLENGER, CHAMPION, Reference
from registry.section import RegistrySection
from registry.store import Registry
from registry.verdicts import Refused, chain, check_verdict, finish_interrupted, promote, refuse, roll_back
from registry.version import Version
from tests.registry.conftest import MakeFolder

SQL = "starter-draft-sql"


def _version(registry: Registry, number: int) -> Version:
    return registry.get(Reference(SQL, None, number))


def _aliases(registry: Registry) -> dict[str, int]:
    return registry.list_models(SQL)[0].aliases


@pytest.fixture
def three(registry: Registry, make_folder: MakeFolder) -> Registry:
    """Three versions, the first of them champion."""
    _seed(registry, make_folder())
    return registry


def _seed(registry: Registry, folder: Path) -> None:
    for alias in (CHAMPION, None, None):
        registry.register(SQL, folder, {"topic": "sql"}, alias=alias, experiment="starter-distill")


def test_a_promoted_challenger_is_champion_and_nothing_else(three: Registry) -> None:
    """Verdict and reason are at the version and at its run; it knows since when, and whom it replaced."""
    challenger = refuse(three, _version(three, 2), "not better: 0.1 runs (-.2 to .4)")
    assert (challenger.aliases, challenger.tags["verdict"]) == ((CHALLENGER,), "refused")
    promoted = promote(three, challenger, 1, "0.6 runs fewer")
    assert (promoted.aliases, _aliases(three)) == ((CHAMPION,), {CHAMPION: 2})
    assert (promoted.tags["verdict"], promoted.tags["verdict_reason"]) == ("promoted", "0.6 runs fewer")
    assert promoted.tags[PREVIOUS] == "1"
    assert SINCE in promoted.tags
    record = three.run_of(promoted)
    assert record is not None
    assert record.tags["verdict"] == "promoted"


def test_a_promotion_from_an_old_view_changes_nothing(three: Registry) -> None:
    """Neither alias nor verdict, and the error says where the champion is."""
    promote(three, _version(three, 2), 1)
    with pytest.raises(AliasMoved, match="points to v2 now, not to v1"):
        promote(three, _version(three, 3), 1)
    assert _aliases(three) == {CHAMPION: 2}
    assert "verdict" not in _version(three, 3).tags


def test_a_rollback_marks_the_version_that_goes(three: Registry) -> None:
    """It tells both, and a third rollback has nowhere to go."""
    promote(three, _version(three, 2), 1)
    left, back = roll_back(three, SQL, "canary: alpha fell by .05")
    assert (left.label, back.label, back.aliases) == ("sql@v2", "sql@v1", (CHAMPION,))
    assert _version(three, 2).tags["verdict_reason"] == "canary: alpha fell by .05"
    with pytest.raises(RegistryError, match="nothing to go back to"):
        roll_back(three, SQL)


def test_a_rollback_to_a_version_that_is_gone_is_refused(three: Registry) -> None:
    """The champion stays where it is."""
    promote(three, _version(three, 2), 1)
    three.client.delete_model_version(SQL, "1")
    with pytest.raises(RegistryError, match="no version v1"):
        roll_back(three, SQL)
    assert _aliases(three) == {CHAMPION: 2}


def test_the_chain_of_rollbacks_ends(three: Registry) -> None:
    """Also where champions replaced each other in turns."""
    promote(three, _version(three, 2), 1)
    promote(three, _version(three, 1), 2)
    versions = {version.version: version for version in three.list_models(SQL)[0].versions}
    assert chain(versions, 1) == [1, 2]
    assert chain(versions, None) == []


def _promoter(version: int, results: "multiprocessing.Queue[str]") -> None:
    registry = Registry.open(RegistrySection())
    try:
        promote(registry, _version(registry, version), 1, f"promoter of v{version}")
    except AliasMoved as refusal:
        results.put(refusal.what)
    else:
        results.put(f"v{version}")


def _seed_in_child(folder: Path) -> None:
    _seed(Registry.open(RegistrySection()), folder)


def test_of_two_promoters_at_once_one_wins_and_the_other_is_told(home: Path, make_folder: MakeFolder) -> None:
    """Both saw v1; the loser's version carries no verdict, and its error names the winner."""
    context = multiprocessing.get_context("fork")
    seed = context.Process(target=_seed_in_child, args=(make_folder(),))
    seed.start()
    seed.join(60)
    results = context.Queue()
    promoters = [context.Process(target=_promoter, args=(number, results)) for number in (2, 3)]
    for promoter in promoters:
        promoter.start()
    answers = sorted((results.get(timeout=60) for _ in promoters), key=len)
    for promoter in promoters:
        promoter.join(60)
    winner, told = answers
    loser = {"v2": 3, "v3": 2}[winner]
    assert told == f"champion of {SQL} points to {winner} now, not to v1"
    registry = Registry.open(RegistrySection())
    assert registry.resolve(f"registry://{SQL}@champion").tags["verdict_reason"] == f"promoter of {winner}"
    assert "verdict" not in _version(registry, loser).tags


class _Killed(Exception):
    """Injected in place of SIGKILL."""


def _kill_after(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = getattr(Registry, name)

    def dying(*arguments: object, **options: object) -> None:
        whole(*arguments, **options)
        raise _Killed

    monkeypatch.setattr(Registry, name, dying)
    monkeypatch.setattr("registry.verdicts._forget", lambda *_: None)


@pytest.mark.parametrize("step", ["set_alias", "drop_alias"])
def test_a_promotion_that_was_killed_is_told_by_the_next_mover(
    three: Registry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """With the reason that it had, and the winner is no challenger any more."""
    refuse(three, _version(three, 2), "not better")
    with monkeypatch.context() as patched:
        _kill_after(patched, step)
        with pytest.raises(_Killed):
            promote(three, _version(three, 2), 1, "0.6 runs fewer")
    assert _version(three, 2).tags["verdict"] == "refused", "or there would be nothing to mend"
    finish_interrupted(three, SQL)
    mended = _version(three, 2)
    assert (mended.tags["verdict"], mended.tags["verdict_reason"]) == ("promoted", "0.6 runs fewer")
    assert mended.aliases == (CHAMPION,)


def test_a_rollback_that_was_killed_is_told_by_the_next_mover(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that left says why."""
    promote(three, _version(three, 2), 1)
    with monkeypatch.context() as patched:
        _kill_after(patched, "rollback")
        with pytest.raises(_Killed):
            roll_back(three, SQL, "slower")
    promote(three, _version(three, 3), 1)
    left = _version(three, 2)
    assert (left.tags["verdict"], left.tags["verdict_reason"]) == ("rolled back", "slower")


def test_a_promotion_that_was_killed_before_the_alias_moved_says_nothing(
    three: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing had happened."""
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_alias", _raise_killed)
        patched.setattr("registry.verdicts._forget", lambda *_: None)
        with pytest.raises(_Killed):
            promote(three, _version(three, 2), 1)
    finish_interrupted(three, SQL)
    assert "verdict" not in _version(three, 2).tags
    assert _aliases(three) == {CHAMPION: 1}


def _raise_killed(*_: object) -> None:
    raise _Killed


def test_whoever_promotes_by_hand_is_told_what_the_gate_said(three: Registry) -> None:
    """Nothing after a pass against what serves; a doubt otherwise; a refusal unless they insist."""
    champion, version = _version(three, 1), _version(three, 2)

    def told(force: bool = False, **tags: str) -> str | None:
        return check_verdict(replace(version, tags={"topic": "sql", **tags}), champion, force)

    assert told(gate_outcome="promoted", gate_against="sql@v1") is None
    assert told(gate_outcome="promoted") is None, "as the learner leaves it"
    assert told(verdict="promoted") is None
    assert "has passed the gate against sql@v7 only" in str(told(gate_outcome="promoted", gate_against="sql@v7"))
    assert "waits at the gate: too few" in str(told(gate_outcome="undecided", verdict_reason="too few"))
    assert "has not been before the gate" in str(told())
    assert told(verdict="rolled back", verdict_reason="slow") == "sql@v2 was rolled back: slow"
    with pytest.raises(Refused, match="sql@v2 was refused: worse"):
        told(verdict="refused", verdict_reason="worse")
    assert told(force=True, verdict="refused", verdict_reason="worse") == "sql@v2 was refused: worse"
    router = replace(version, tags={"topic": "router"})
    assert check_verdict(router, None, force=False) is None, "routers have a gate of their own"
    with pytest.raises(Refused, match="router@v2"):
        check_verdict(replace(router, tags={"topic": "router", "verdict": "refused"}), None, force=False)
