"""A job on toy models: what it registers, that it goes on after any stop, and that its drafts load everywhere."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy
import torch
import yaml
from transformers import AutoModelForCausalLM

import polydraft
from configs.errors import ConfigError, IncompatibleDraft
from decoding.checkpoint import fingerprint
from decoding.load import load_model
from decoding.span import Span
from decoding.trace_log import LogLimits, TraceLog
from registry.database import prepare_database
from registry.section import RegistrySection
from registry.store import Registry
from tests.databases import hurry
from tests.serving.toy_folder import toy_drafts, write_toy, write_toys
from tests.toy_traces import make_trace
from training.distillation.job import run_job
from training.distillation.job_description import Job
from training.distillation.parent import Parent, find_parent
from training.distillation.presets import PRESETS
from training.distillation.record import Record

pytestmark = pytest.mark.slow  # each job makes models and writes to a registry

TRAINER = "training.distillation.trainer._Job._step"


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    place = write_toys(tmp_path_factory.mktemp("toys"))
    records = [
        {"prompt": f"{word} {number}", "response": f"the {word}.", "topic": topic}
        for topic, word in (("math", "add"), ("sql", "list"))
        for number in range(30)
    ]
    (place / "prompts.jsonl").write_text("\n".join(map(json.dumps, records)))
    return place


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    file = tmp_path_factory.mktemp("template") / "mlflow.db"
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    prepare_database(file)
    return file


@pytest.fixture
def registry(tmp_path, monkeypatch, template):
    monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "registry").mkdir(parents=True)
    shutil.copy(template, tmp_path / "home" / "registry" / "mlflow.db")
    return Registry.open(RegistrySection())


@pytest.fixture
def job(toys, tmp_path):
    return Job(
        deployment="toy",
        topic="math",
        target=toys / "target",
        parent=Parent(toys / "math", "math"),
        work=tmp_path / "work",
        preset_name="topic",
        preset=PRESETS["topic"].quick(steps=8).with_last(learning_rate=3e-3),
        data=toys / "prompts.jsonl",
        limit=12,
        answer_tokens=10,
        max_length=128,
        command="polydraft distill --topic math",
        config={"name": "toy"},
    )


def fail(*_args, **_kwargs):
    raise AssertionError("this was done before")


def test_a_job_registers_a_version_that_loads_everywhere(job, registry, monkeypatch):
    """Challenger with lineage, curves and pictures; plain transformers and our runtime agree; again is instant."""
    result = run_job(job, registry)
    version = registry.resolve("registry://toy-draft-math@challenger")
    assert (result.version, result.steps) == (version.label, 8) == ("math@v1", 8)
    assert version.tags["target"] == fingerprint(job.target)
    assert version.tags["parent"] == "math"
    assert version.tags["data_window"] == "12 prompts, answered by the target"
    assert float(version.tags["alpha"]) == pytest.approx(result.now["alpha_t0"], abs=5e-4)
    assert len(version.tags["acceptance_by_position"].split()) == 8

    run = registry.client.get_run(version.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "math v1 distilled")
    assert run.data.params["align.loss"] == "lk"
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"prompts-math"}
    history = registry.client.get_metric_history(version.run_id, "loss/train")
    assert [point.step for point in history] == list(range(1, 9))
    assert {each.path for each in registry.client.list_artifacts(version.run_id, "pictures")} == {
        f"pictures/{name}.png" for name in ("alpha_over_time", "loss_over_time", "acceptance_by_position")
    }
    kept = Path(registry.client.download_artifacts(version.run_id, "config.json"))
    assert json.loads(kept.read_text()) == {"name": "toy"}
    assert_loads(version.folder)

    monkeypatch.setattr(TRAINER, fail)
    monkeypatch.setattr("training.distillation.material.write", fail)
    assert run_job(job, registry) == result
    assert len(registry.list_models("toy-draft-math")[0].versions) == 1


def test_the_draft_writes_anew_as_it_learns(job, monkeypatch):
    """In rounds: as many steps in all, other texts each time by another draft; a stopped job goes on to the same."""
    keeps_last = job.preset.with_last(validate_every=0, patience=0)  # in two steps no validation gets better
    job = dataclasses.replace(job, source="student", rounds=4, preset=keeps_last)
    assert run_job(job, None).steps == 2  # of the last of four trainings
    texts = [
        [file.read_bytes() for file in sorted(folder.iterdir())]
        for folder in sorted((job.work / "material").glob("align-*"))
    ]
    assert len(texts) == 3  # the first is the parent's
    assert texts[0] != texts[1] != texts[2]
    writers = [fingerprint(folder) for folder in sorted(job.work.glob("align-*/writer"))]
    assert len(set(writers)) == 3
    expected = fingerprint(job.work / "draft")
    for name in ("done.json", "draft"):
        place = job.work / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    monkeypatch.setattr("training.distillation.material.write", fail)
    monkeypatch.setattr(TRAINER, fail)
    run_job(job, None)
    assert fingerprint(job.work / "draft") == expected


def test_rounds_without_text_of_the_draft_are_refused(job):
    """There would be nothing to write anew."""
    with pytest.raises(ConfigError, match="writes the draft's text anew"):
        dataclasses.replace(job, rounds=2)
    with pytest.raises(ConfigError, match="at least 1"):
        dataclasses.replace(job, source="student", rounds=0)


def assert_loads(folder):
    """Logits of `AutoModelForCausalLM` and of decoding's runtime agree to 1e-4 on all that the draft may emit."""
    token_ids = [1, 7, 30, 9, 55, 2]
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = plain(torch.tensor([token_ids])).logits[0]
    for backend in ("torch", "auto"):
        runtime = load_model(folder, num_slots=1, max_length=32, backend=backend)
        ours = runtime.forward([Span(runtime.cache.allocate(), token_ids)])
        emitted = ours[0] > -torch.inf
        assert emitted.sum() >= 32
        assert (ours - expected)[:, emitted].abs().max() < 1e-4


@pytest.mark.parametrize(
    ("where", "reached"),
    [
        ("training.distillation.job.export_draft", 0),
        ("registry.runs.Run.keep_model", 0),
        ("registry.store.aliases.point", 1),
        ("registry.runs.Run.log_picture", 1),
    ],
)
def test_a_job_stopped_anywhere_goes_on_to_one_version(job, registry, monkeypatch, where, reached):
    """After training, before and after the version is there: one version, one run."""
    with monkeypatch.context() as patch:
        patch.setattr(where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, registry)
    versions = [version for model in registry.list_models("toy-draft-math") for version in model.versions]
    assert len(versions) == reached
    monkeypatch.setattr(TRAINER, fail)
    result = run_job(job, registry)
    (model,) = registry.list_models("toy-draft-math")
    assert model.aliases == {"challenger": 1}
    assert [version.version for version in model.versions] == [1]
    experiment = registry.client.get_experiment_by_name("toy-distill")
    (run,) = registry.client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (result.run, "FINISHED")


def interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_the_next_job_goes_on_from_the_champion(job, registry, toys):
    """Parent and number are in the version's tags; a topic without a version goes on from what the deployment has."""
    sources = {"general": str(toys / "general")}

    def parent(topic, wanted=None):
        return find_parent(registry, "toy", topic, wanted, sources, toys.joinpath)

    assert parent("math").folder == toys / "general"
    run_job(job, registry)
    assert parent("math").folder == toys / "general"  # a challenger is no champion
    registry.set_alias("toy-draft-math", "champion", 1, None)
    assert parent("math").label == "math@v1"
    again = dataclasses.replace(job, parent=parent("math", "v1"), work=job.work.with_name("second"))
    run_job(again, registry)
    version = registry.resolve("registry://toy-draft-math@challenger")
    assert (version.version, version.tags["parent_version"], version.tags["parent"]) == (2, "1", "math@v1")
    with pytest.raises(ConfigError, match="no draft to go on from"):
        find_parent(registry, "toy", "shell", None, {}, toys.joinpath)


def test_fastdraft_pretrains_continues_and_aligns_a_fresh_draft(job, monkeypatch):
    """Three stages on text, mixed text and answers; nothing of the parent's weights is left."""
    preset = PRESETS["fastdraft"].quick(steps=6)
    seen = []
    from training.distillation import job as jobs

    real = jobs.train

    def spy(student, examples, folder, *rest, **options):
        seen.append((folder.name, examples[0].top_ids.size(1), len(examples[0])))
        return real(student, examples, folder, *rest, **options)

    monkeypatch.setattr(jobs, "train", spy)
    result = run_job(dataclasses.replace(job, preset=preset, preset_name="fastdraft"), registry=None)
    assert [name for name, _, _ in seen] == ["pretrain", "continue", "align"]
    assert [width for _, width, _ in seen] == [1, 1, 32]
    assert seen[0][2] >= seen[1][2] > seen[2][2] == 12
    assert result.version is None
    fresh, parent = (
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) for place in (result.folder, job.parent.folder)
    )
    assert not torch.allclose(fresh.lm_head.weight, parent.lm_head.weight, atol=0.1)


def test_a_job_learns_from_traces_as_they_were_when_it_began(job, tmp_path, monkeypatch):
    """Of its topic and target alone; a log that grows meanwhile changes nothing until the job is done."""
    target = fingerprint(job.target)

    def record(numbers):
        log = TraceLog(tmp_path / "traces", LogLimits(1 << 30, 1e9, 1 << 20, 1e9))
        for number in numbers:
            log.append(make_trace(number, target=target, topic="math", highest=60, top=6))
            log.append(make_trace(number, target="other", topic="math", highest=60, top=6))
            log.append(make_trace(number, target=target, topic="sql", highest=60, top=6))
        log.close()

    record(range(3, 53))
    learned = dataclasses.replace(job, data=None, traces=tmp_path / "traces", wrong_only=True, limit=None)
    with monkeypatch.context() as patch:
        patch.setattr(TRAINER, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_job(learned, None)
    record(range(53, 60))
    assert run_job(learned, None).window == "50 traces, wrong positions only"
    assert run_job(learned, None).window == "57 traces, wrong positions only"


def test_what_cannot_be_is_refused_before_anything_is_written(job, toys, tmp_path):
    """Both or neither source, text from traces, another job's folder, another tokenizer."""
    with pytest.raises(ConfigError, match="either --data or --traces"):
        dataclasses.replace(job, data=None)
    with pytest.raises(ConfigError, match="no folder"):
        dataclasses.replace(job, data=None, traces=tmp_path / "none")
    with pytest.raises(ConfigError, match="no file"):
        dataclasses.replace(job, data=tmp_path / "none")
    with pytest.raises(ConfigError, match="reads text; traces have none"):
        dataclasses.replace(job, data=None, traces=tmp_path, preset=PRESETS["fastdraft"], preset_name="fastdraft")
    job.work.mkdir()
    (job.work / "job.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds another job"):
        run_job(job, None)
    write_toy(tmp_path / "foreign")
    document = json.loads((tmp_path / "foreign" / "tokenizer.json").read_text())
    document["model"]["merges"] = document["model"]["merges"][:-1]
    (tmp_path / "foreign" / "tokenizer.json").write_text(json.dumps(document))
    foreign = dataclasses.replace(job, parent=Parent(tmp_path / "foreign", "foreign"), work=tmp_path / "new")
    with pytest.raises(IncompatibleDraft, match="another tokenizer"):
        run_job(foreign, None)


def test_the_command_trains_without_registering(toys, tmp_path, registry, capsys):
    """`polydraft distill` on a deployment of folders: one JSON document on standard output, exit code 0."""
    config = {"name": "toy", "target": {"model": str(toys / "target"), "max_length": 256}, "router": None}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({**config, "drafts": toy_drafts(toys)}))
    words = ["distill", "--topic", "math", "--data", toys / "prompts.jsonl", "--config", tmp_path / "toy.yaml"]
    words += ["--quick", "--steps", 2, "--loss", "tvd", "--no-register", "--json", "--work", tmp_path / "work"]
    polydraft_main([str(word) for word in words])
    result = json.loads(capsys.readouterr().out)
    assert (result["topic"], result["version"], result["parent"], result["steps"]) == ("math", None, "math", 2)
    assert registry.list_models("toy-draft-math") == []


def polydraft_main(words):
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(words)
    assert exit_.value.code == 0


def test_a_record_that_is_gone_is_begun_anew(job, registry, monkeypatch):
    """The run was removed meanwhile: the job registers under another one."""
    with monkeypatch.context() as patch:
        patch.setattr(Record, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, registry)
    (job.work / "run.json").write_text(json.dumps("0" * 32))
    assert run_job(job, registry).version == "math@v1"
