"""`polydraft registry ...`, run in this process on a deployment with a tiny target."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import polydraft
from decoding.checkpoint import fingerprint
from drafts.compatibility import tokenizer_fingerprint
from registry.names import CHAMPION
from registry.store import Registry
from registry.verdicts import refuse
from tests.serving.toy_folder import write_model, write_tokenizer

Say = Callable[..., tuple[int, str, str]]
SQL = "mine-draft-sql"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A target with a tokenizer."""
    folder = tmp_path / "target"
    write_tokenizer(folder)
    return write_model(folder)


@pytest.fixture
def tags(target: Path) -> dict[str, str]:
    """Of a draft that was made for the target."""
    return {"topic": "sql", "alpha": "0.8", "target": fingerprint(target), "tokenizer": tokenizer_fingerprint(target)}


@pytest.fixture
def say(registry: Registry, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command on the deployment; its exit code and what it wrote to the two streams."""
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"name: mine\ntarget: {{model: {target}}}\nrouter: null\n"
        f"drafts: {{general: null, topics: {{sql: {{model: 'registry://{SQL}@v2'}}}}}}\n"
    )

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            polydraft.main(["registry", *words, "--config", str(config)])
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def drafts(registry: Registry, target: Path, tags: dict[str, str], tmp_path: Path) -> Path:
    """Three versions, the first of them champion; the folder that they were made from."""
    folder = tmp_path / "draft"
    write_tokenizer(folder)
    write_model(folder, seed=1, layers=1)
    for number, alias in enumerate((CHAMPION, None, None), start=1):
        facts = {**tags, "alpha": f"0.8{number}"}
        registry.register(SQL, folder, facts, alias=alias, experiment="mine-distill", description=f"number {number}")
    return folder


def _json(text: str) -> Any:
    return json.loads(text)


def test_a_version_is_promoted_and_rolled_back(say: Say, drafts: Path) -> None:
    """Each command says how to undo it, and undoing it does."""
    code, out, err = say("promote", "sql@v3", "--reason", "0.6 runs fewer")
    assert (code, out) == (0, "")
    warning = "warning: sql@v3 has not been before the gate; look with polydraft gate judge sql@v3"
    assert err == f"{warning}\nPromoted sql@v3 over v1\nUndo: polydraft registry rollback sql\n"
    assert _json(say("list", "--json")[1])[0]["champion"] == "v3"
    code, _, err = say("rollback", "sql")
    assert code == 0
    assert "sql@v1 is the champion" in err
    assert "polydraft registry promote sql@v3" in err
    assert _json(say("promote", "sql@v3", "--json")[1]) == {"promoted": "sql@v3", "over": "v1"}
    assert say("promote", "sql@v3") == (0, "", "sql@v3 is the champion already\n")


def test_a_refused_version_waits_for_somebody_who_insists(say: Say, registry: Registry, drafts: Path) -> None:
    """Exit code 1 and what to do; with --force it serves, and the reason is said once more."""
    refuse(registry, registry.resolve(f"registry://{SQL}@v3"), "0.2 runs more")
    code, out, err = say("promote", "sql@v3")
    assert (code, out) == (1, "")
    assert err.startswith("error: sql@v3 was refused: 0.2 runs more\n  do: look again with polydraft gate judge sql@v3")
    assert "was refused" in _json(say("promote", "sql@v3", "--json")[1])["error"]["what"]
    assert _json(say("list", "--json")[1])[0]["champion"] == "v1"
    code, _, err = say("promote", "sql@v3", "--force")
    assert (code, err.splitlines()[0]) == (0, "warning: sql@v3 was refused: 0.2 runs more")
    say("rollback", "sql", "--reason", "slow")
    code, _, err = say("promote", "sql@v3")
    assert (code, err.splitlines()[0]) == (0, "warning: sql@v3 was rolled back: slow")


def test_expecting_another_champion_is_a_no(say: Say, drafts: Path) -> None:
    """Exit code 1, nothing changed; a version that does not exist is an error."""
    code, out, err = say("promote", "sql@v3", "--expect", "v2")
    assert (code, out) == (1, "")
    assert err.startswith("error: champion of mine-draft-sql points to v1 now, not to v2\n  do: ")
    assert _json(say("promote", "sql@v3", "--expect", "none", "--json")[1])["error"]["what"].endswith("not to nothing")
    assert _json(say("list", "--json")[1])[0]["champion"] == "v1"
    assert say("promote", "sql@v3", "--expect", "sql@v1")[0] == 0
    assert say("promote", "sql@v9")[0] == 2
    assert say("promote", "sql")[0] == 2
    assert say("promote", "sql@v2", "--expect", "yesterday")[0] == 2


def test_a_draft_for_another_tokenizer_is_refused_with_the_first_difference(
    say: Say, registry: Registry, drafts: Path, tags: dict[str, str]
) -> None:
    """And so is one for another target; neither becomes champion."""
    file = drafts / "tokenizer.json"
    document = json.loads(file.read_text())
    vocabulary = document["model"]["vocab"]
    one, other = "h", "t"
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(document))
    registry.register(SQL, drafts, {**tags, "tokenizer": "x"}, experiment="mine-distill")
    code, _, err = say("promote", "sql@v4")
    assert code == 1
    assert "sql@v4 was made for another tokenizer" in err
    assert "first difference: id " in err
    write_tokenizer(drafts)
    registry.register(SQL, drafts, {**tags, "target": "b" * 64}, experiment="mine-distill")
    code, out, _ = say("promote", "sql@v5", "--json")
    assert code == 1
    assert "another target" in _json(out)["error"]["what"]
    assert _json(say("list", "--json")[1])[0]["champion"] == "v1"


def test_versions_are_shown_and_compared(say: Say, drafts: Path) -> None:
    """As a document, and as lines apart by tabs where nobody looks."""
    document = _json(say("show", "sql", "--json")[1])
    assert (document["label"], document["run_name"], len(document["versions"])) == ("sql@v1", SQL, 3)
    assert "description\tnumber 1\n" in say("show", "sql@v1")[1]
    code, out, _ = say("compare", "sql@v1", "sql@v3")
    assert code == 0
    assert "acceptance/alpha\t0.81\t0.83\t+0.02\n" in out
    assert _json(say("compare", "sql@v1", "sql@v3", "--json")[1])["versions"] == ["sql@v1", "sql@v3"]


def test_tidying_up_says_first_what_it_would_do(
    say: Say, registry: Registry, drafts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Young versions stay; then v2 stays because the deployment names it, v1 because it serves."""
    assert "Nothing may be removed" in say("gc", "--keep", "0")[2]
    monkeypatch.setattr("registry.removal.YOUNGEST", timedelta(0))
    assert [row["label"] for row in _json(say("gc", "--keep", "0", "--json")[1])["versions"]] == ["sql@v3"]
    code, out, err = say("gc", "sql", "--keep", "0")
    assert (code, "sql@v3\t" in out, "--yes" in err) == (0, True, True)
    assert len(registry.list_models(SQL)[0].versions) == 3
    code, out, err = say("gc", "--keep", "0", "--yes")
    assert (code, "sql@v3\t" in out, "Removed 1 version, " in err) == (0, True, True)
    assert [version.version for version in registry.list_models(SQL)[0].versions] == [2, 1]
    assert say("gc", "sq")[0] == 2
