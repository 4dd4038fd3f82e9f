"""`polydraft gate judge` on a toy deployment: a target, a draft that does not know it, and recorded answers."""

import json
import shutil

import pytest
import torch

from decoding.checkpoint import fingerprint
from polydraft import main
from registry.names import CHALLENGER, CHAMPION, Reference
from tests.commands.test_learn import MODEL, write_config
from tests.serving.toy_folder import write_model
from tests.training.online.streams import stream, write_log, write_models
from training.distillation.record import JOB

ALPHABET = "abcdefghijklmnop"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Target, draft, and a log of 260 answers, of which a fifth is held out."""
    place = tmp_path_factory.mktemp("made")
    target, draft = write_models(place)
    write_log(place / "log", stream(target, draft, 260, fingerprint=fingerprint(target)))
    return target, draft, place / "log"


@pytest.fixture
def judge(made, registry, tmp_path, capsys):
    """Runs a command on the deployment; its exit code, what it wrote to the two streams, and a registry to look at.

    v1 is the champion and knows nothing, v2 is the target itself, v3 a copy of v1, v4 another that knows nothing.
    """
    target, draft, log = made
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    other = tmp_path / "other"
    shutil.copytree(draft, other)
    write_model(other, seed=5, layers=1)
    for folder, alias in ((draft, CHAMPION), (target, CHALLENGER), (draft, None), (other, None)):
        registry.register(MODEL, folder, {"topic": "sql"}, alias=alias)
    config = write_config(tmp_path, target)

    def run(*words, traces=log):
        given = [*words, *(["--traces", str(traces)] if traces else []), "--config", str(config)]
        with pytest.raises(SystemExit) as ended:
            main(given)
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    run.registry = registry
    yield run
    torch.set_num_threads(before)


def _version(registry, number):
    return registry.get(Reference(MODEL, None, number))


def _champion(registry):
    return registry.get(Reference(MODEL, CHAMPION, None)).version


def test_a_better_draft_passes_and_is_promoted_only_when_asked(judge):
    """Exit code 0 and tags; the alias moves with --promote, and the verdict is told in figures."""
    code, out, err = judge("gate", "judge", "sql", "--json")
    found = json.loads(out)
    assert (code, found["candidate"], found["against"]) == (0, "sql@v2", "sql@v1")
    assert (found["outcome"], found["promoted"]) == ("passed", False)
    assert found["saved_runs_per_token"]["lower"] > found["margin"] > 0
    assert len(found["sequence"]["lower"]) == found["requests"] >= 30
    assert found["sequence"]["lower"][0] is None, "nothing is said before the first look"
    assert found["figures"]["candidate"]["alpha"] > found["figures"]["against"]["alpha"]
    tags = _version(judge.registry, 2).tags
    assert (tags["verdict"], tags["gate_outcome"], tags["gate_against"]) == ("passed", "promoted", "sql@v1")
    assert tags["verdict_reason"] == found["reason"]
    assert _champion(judge.registry) == 1
    code, out, err = judge("gate", "judge", "sql@v2", "--promote")
    assert (code, _champion(judge.registry)) == (0, 2)
    assert "tokens a target run\t" in out
    assert "Promoted sql@v2. Undo: polydraft registry rollback sql" in err
    assert _version(judge.registry, 2).tags["verdict"] == "promoted"


def test_a_copy_and_a_worse_draft_are_refused(judge):
    """Exit code 1, the reason as a tag, no alias moved, --promote or not; nobody knows is a no as well."""
    code, _, err = judge("gate", "judge", "sql@v4", "--promote")
    assert (code, "sql@v4 waits for more requests" in err) == (1, True)
    assert "verdict" not in _version(judge.registry, 4).tags
    for label, number, champion in (("sql@v3", 3, 1), ("sql@v4", 4, 2)):
        judge.registry.set_alias(MODEL, CHAMPION, champion, 1)
        code, _, err = judge("gate", "judge", label, "--promote")
        assert (code, _champion(judge.registry)) == (1, champion)
        assert f"{label} is refused: saves" in err
        tags = _version(judge.registry, number).tags
        assert (tags["verdict"], tags["gate_outcome"]) == ("refused", "refused")
        assert "of the champion's cost" in tags["verdict_reason"]
    assert CHALLENGER in _version(judge.registry, 2).aliases, "who hopes to serve still does"


def test_a_refused_version_is_promoted_by_hand_only_with_force(judge):
    """The error says what to do; a version that has passed needs nothing."""
    assert judge("gate", "judge", "sql@v3")[0] == 1
    code, _, err = judge("registry", "promote", "sql@v3", traces=None)
    assert (code, _champion(judge.registry)) == (1, 1)
    assert "sql@v3 was refused: saves" in err
    assert "--force" in err
    assert judge("gate", "judge", "sql@v2")[0] == 0
    assert judge("registry", "promote", "sql@v2", traces=None)[2].startswith("Promoted sql@v2 over v1\n")
    code, _, err = judge("registry", "promote", "sql@v3", "--force", traces=None)
    assert (code, _champion(judge.registry)) == (0, 3)
    assert err.startswith("warning: sql@v3 was refused: ")


def test_another_rival_is_compared_with_and_leaves_no_verdict(judge):
    """Whoever loses against what does not serve is not refused for it."""
    code, _, err = judge("gate", "judge", "sql@v1", "--against", "sql@v2")
    assert code == 1
    assert "Nothing was written down: sql@v1 serves, not sql@v2" in err
    assert "verdict" not in _version(judge.registry, 1).tags
    assert judge("gate", "judge", "sql@v3", "--against", "sql@v2", "--promote")[0] == 2
    assert judge("gate", "judge", "sql@v1")[0] == 2, "the champion is no candidate"
    assert judge("gate", "judge", "router@v1")[0] == 2


def test_who_is_behind_the_control_does_not_pass(judge):
    """The target itself, as control, beats a draft that is only somewhat better than the champion."""
    blend, (first, second) = judge.registry, (_version(judge.registry, 1).folder, _version(judge.registry, 2).folder)
    folder = first.parent / "blend"
    shutil.copytree(second, folder)
    from safetensors.torch import load_file, save_file

    one, two = (load_file(each / "model.safetensors") for each in (first, second))
    save_file({name: 0.25 * one[name] + 0.75 * two[name] for name in one}, folder / "model.safetensors")
    blend.register(MODEL, folder, {"topic": "sql"})
    assert judge("gate", "judge", "sql@v5")[0] == 0
    code, out, _ = judge("gate", "judge", "sql@v5", "--control", "sql@v2", "--json")
    assert code == 1
    assert json.loads(out)["figures"]["control"]["alpha"] > json.loads(out)["figures"]["candidate"]["alpha"]
    assert "control" in _version(judge.registry, 5).tags["verdict_reason"]


def test_too_few_requests_are_an_error_that_leaves_nothing(judge, made, tmp_path):
    """Exit code 2; of a distilled version's traces half as many are left, its weights were chosen on the others."""
    target, draft, log = made
    few = tmp_path / "few"
    write_log(few, stream(target, draft, 60, fingerprint=fingerprint(target)))
    code, _, err = judge("gate", "judge", "sql@v2", traces=few)
    assert code == 2
    assert "held-out requests; the gate's first look is after 30" in err
    assert "gate_outcome" not in _version(judge.registry, 2).tags
    judge.registry.register(MODEL, target, {"topic": "sql", "job": JOB})
    code, _, err = judge("gate", "judge", "sql@v5", traces=log)
    assert code == 2, err
    assert judge("gate", "judge", "sql@v2", traces=tmp_path / "none")[0] == 2


def test_the_target_answers_validation_prompts_and_training_prompts_are_left_alone(judge, tmp_path):
    """--data needs no traces; answers are kept, so that the second time nobody is asked."""
    data = tmp_path / "prompts.jsonl"
    prompts = [f"{ALPHABET[n // 10]} {ALPHABET[n % 10]}" for n in range(80)]
    records = [{"prompt": each, "topic": "sql", "split": "validation"} for each in prompts]
    data.write_text("\n".join(map(json.dumps, records)))
    code, out, err = judge("gate", "judge", "sql@v2", "--data", str(data), "--json", traces=None)
    assert code == 0, err
    assert json.loads(out)["requests"] <= 64
    assert "has answered 64 of 80" in err
    data.write_text("\n".join(json.dumps({**each, "split": "train"}) for each in records))
    code, _, err = judge("gate", "judge", "sql@v2", "--data", str(data), traces=None)
    assert (code, "no validation prompts" in err) == (2, True)
    assert judge("gate", "judge", "sql@v2", "--data", str(data))[0] == 2, "one or the other"
