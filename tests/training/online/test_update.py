import pytest
import torch

from registry.names import CHALLENGER, CHAMPION, Reference
from registry.store import Registry
from tests.training.online.streams import FINGERPRINT, MODEL, make_subject, stream, write_log
from training.checkpoint import named_weights, set_weights
from training.distillation.export import load_student
from training.distillation.trainer import History
from training.gate import GateRule
from training.online import judging, making, update
from training.online.load import Stopped, Throttle
from training.online.publish import Book
from training.online.state import Desk
from training.online.update import cycle


def champion(registry):
    return registry.get(Reference(MODEL, CHAMPION, None))


def versions(registry):
    (model,) = registry.list_models(MODEL)
    return model


@pytest.fixture
def subject(tmp_path, models, traces, registry):
    """A topic with enough traces in its log for an update and a verdict."""
    write_log(tmp_path / "log", traces)
    return make_subject(tmp_path, models[0], registry)


@pytest.fixture
def taught(models, monkeypatch):
    """In place of training: the candidate is the target, and the loss is what it is."""

    def teach(student, examples, plan, folder, stamp, report=None):
        set_weights(student, named_weights(load_student(models[0])))
        return History([1.0] * plan.steps)

    monkeypatch.setattr(making, "teach", teach)
    monkeypatch.setattr(making, "fitted_temperature", lambda *_: 1.0)


class TestCycle:
    def test_a_topic_that_the_draft_does_not_know_ends_in_a_promotion(self, subject, registry):
        """One version, one run, lineage, figures, verdict; nothing is due afterwards."""
        assert cycle(subject)
        version = champion(registry)
        assert version.version == 2
        assert version.tags["parent_version"] == "1"
        assert version.tags["job"] == "online"
        assert version.tags["verdict"] == "promoted"
        assert version.tags["target"] == FINGERPRINT
        assert version.tags["learned_until"] == str(subject.setting.log.end())
        assert 0 < version.figure("alpha_t1") < 1
        assert version.figure("tokens_per_target_run") > 1
        run = registry.run_of(version)
        assert (run.name, run.status) == ("sql v2 online", "FINISHED")
        assert {"loss/train", "gate/difference", "gate/lower", "acceptance/alpha_t1"} <= run.figures.keys()
        assert set(run.data) == {"traces-sql (train)", "traces-sql-heldout (gate)"}
        pictures = {item.path for item in registry.client.list_artifacts(version.run_id, "pictures")}
        assert pictures == {"pictures/gate_sequence.png", "pictures/loss_over_time.png"}
        assert subject.desk.state.seen == subject.setting.log.end()
        assert (subject.desk.job, subject.desk.state.pending) == (None, None)
        assert not cycle(subject)
        assert len(versions(registry).versions) == 2

    def test_too_few_requests_wake_nobody(self, tmp_path, models, traces, registry):
        """One less than an update asks for, and many of another topic."""
        subject = make_subject(tmp_path, models[0], registry)
        write_log(tmp_path / "log", [*traces[:99], *stream(*models, 20, topic="math")])
        assert not cycle(subject)
        assert len(versions(registry).versions) == 1

    def test_a_poisoned_candidate_is_refused(self, taught, subject, registry, monkeypatch):
        """It stays challenger with the reason; the champion stays, too."""

        def poison(student, *arguments):
            history = making_teach(student, *arguments)
            with torch.no_grad():
                for weights in student.parameters():
                    weights.normal_()
            return history

        making_teach = making.teach
        registry.register(MODEL, subject.setting.tokenizer, {"topic": "sql"}, alias=CHAMPION)  # knows all there is
        monkeypatch.setattr(making, "teach", poison)
        assert not cycle(subject)
        refused = registry.get(Reference(MODEL, CHALLENGER, None))
        assert (champion(registry).version, refused.version) == (2, 3)
        assert refused.tags["verdict"] == "refused"
        assert "less than 0.5 %" in refused.tags["verdict_reason"]
        assert subject.desk.state.pending is None

    def test_losses_that_are_not_finite_register_nothing(self, taught, subject, registry, monkeypatch):
        """The run says so, and the same traces do not call for the same failure again."""

        def explode(*arguments):
            history = making_teach(*arguments)
            history.losses[-1] = float("nan")
            return history

        making_teach = making.teach
        monkeypatch.setattr(making, "teach", explode)
        assert not cycle(subject)
        assert not cycle(subject)
        assert len(versions(registry).versions) == 1
        assert subject.desk.state.seen == subject.setting.log.end()

    def test_an_undecided_candidate_waits_for_more_requests(self, taught, tmp_path, models, traces, registry):
        """It is challenger meanwhile, and promoted when they have told."""
        subject = make_subject(tmp_path, models[0], registry, rule=GateRule(burn_in=60))
        write_log(tmp_path / "log", traces)
        assert not cycle(subject)
        waiting = registry.get(Reference(MODEL, CHALLENGER, None))
        assert "verdict" not in waiting.tags
        assert "too few" in waiting.tags["verdict_reason"]
        assert not cycle(subject), "nothing has changed"
        write_log(tmp_path / "log", stream(*models, 60, seed=3))
        assert cycle(subject)
        assert champion(registry).version == 2
        assert len(versions(registry).versions) == 2, "an update was not due"

    def test_a_candidate_that_waits_makes_way_for_the_next_one(self, taught, tmp_path, models, traces, registry):
        """Which learns from the champion's weights and all traces that the champion has not seen."""
        subject = make_subject(tmp_path, models[0], registry, rule=GateRule(burn_in=120))
        write_log(tmp_path / "log", traces)
        assert not cycle(subject)
        write_log(tmp_path / "log", stream(*models, 100, seed=3))
        assert not cycle(subject)
        first, second = sorted(versions(registry).versions, key=lambda version: version.version)[1:]
        assert first.tags["verdict"] == "refused"
        assert "v3 came before it could tell" in first.tags["verdict_reason"]
        assert second.aliases == (CHALLENGER,)
        assert second.tags["parent_version"] == "1"
        learned = [int(version.tags["data_window"].split()[0]) for version in (first, second)]
        assert learned[1] > learned[0] + 40

    def test_a_failed_training_takes_nothing_from_a_candidate_that_waits(
        self, taught, tmp_path, models, traces, registry, monkeypatch
    ):
        """The gate goes on with it."""
        subject = make_subject(tmp_path, models[0], registry, rule=GateRule(burn_in=120))
        write_log(tmp_path / "log", traces)
        assert not cycle(subject)
        monkeypatch.setattr(making, "teach", lambda *_: History([float("inf")]))
        write_log(tmp_path / "log", stream(*models, 100, seed=3))
        assert not cycle(subject)
        assert subject.desk.state.pending.version == 2
        assert subject.desk.state.seen == subject.setting.log.end()

    def test_a_winner_waits_where_promotion_is_by_hand(self, taught, tmp_path, models, traces, registry):
        """learning.promote: candidate."""
        subject = make_subject(tmp_path, models[0], registry, promote="candidate")
        write_log(tmp_path / "log", traces)
        assert not cycle(subject)
        waiting = registry.get(Reference(MODEL, CHALLENGER, None))
        assert waiting.tags["gate_outcome"] == "promoted"
        assert "polydraft registry promote sql@v2" in waiting.tags["verdict_reason"]
        assert champion(registry).version == 1
        assert not cycle(subject)

    def test_a_champion_that_moved_meanwhile_is_not_overwritten(self, taught, subject, registry, models, monkeypatch):
        """The verdict was about another one; the candidate is looked at again."""

        def slow(*arguments, **options):
            trial = hold_trial(*arguments, **options)
            registry.register(MODEL, models[0], {"topic": "sql"}, alias=CHAMPION)
            return trial

        hold_trial = judging.hold_trial
        monkeypatch.setattr(judging, "hold_trial", slow)
        assert not cycle(subject)
        assert champion(registry).version == 3
        assert subject.desk.state.pending.version == 2
        monkeypatch.setattr(judging, "hold_trial", hold_trial)
        assert not cycle(subject)
        assert champion(registry).version == 3


class Crash(Exception):
    """Injected."""


STAGES = [
    (update, "examples_of", "before"),
    (Desk, "begin", "before"),
    (Desk, "begin", "after"),
    (Book, "run_for", "after"),
    (Desk, "note_run", "after"),
    (making, "teach", "before"),
    (making, "teach", "after"),
    (making, "export_draft", "after"),
    (Registry, "register", "before"),
    (Registry, "register", "after"),
    (Desk, "keep", "before"),
    (Desk, "keep", "after"),
    (Desk, "clear", "before"),
    (judging, "hold_trial", "before"),
    (Book, "report", "before"),
    (Book, "report", "after"),
]


def crash_once(monkeypatch, place, name, when):
    """Let a function raise at its next call, before or after its work."""
    whole = getattr(place, name)
    crashed = []

    def crashing(*arguments, **options):
        if when == "after" or crashed:
            result = whole(*arguments, **options)
        if not crashed:
            crashed.append(True)
            raise Crash(f"{when} {name}")
        return result

    monkeypatch.setattr(place, name, crashing)
    return crashed


class TestCrashes:
    def test_a_crash_at_any_stage_makes_no_second_version_and_loses_no_trace(
        self, taught, subject, registry, monkeypatch
    ):
        """Every stage fails once, one after the other; what comes of it is what comes of an update without crashes."""
        for place, name, when in STAGES:
            with monkeypatch.context() as patched:
                crashed = crash_once(patched, place, name, when)
                with pytest.raises(Crash):
                    cycle(subject)
                assert crashed, f"{when} {name} was never reached"
        cycle(subject)
        version = champion(registry)
        assert [version.version for version in versions(registry).versions] == [2, 1]
        assert version.tags["verdict"] == "promoted"
        assert version.tags["learned_until"] == str(subject.desk.state.seen) == str(subject.setting.log.end())
        assert (subject.desk.job, subject.desk.state.pending) == (None, None)
        assert versions(registry).challenger is None
        assert registry.run_of(version).status == "FINISHED"

    def test_a_promotion_that_was_cut_short_is_completed(self, taught, subject, registry, monkeypatch):
        """The alias has moved, but nobody has said why, and the winner is challenger still."""
        with monkeypatch.context() as patched:
            crash_once(patched, Registry, "set_alias", "after")
            with pytest.raises(Crash):
                cycle(subject)
        assert (champion(registry).aliases, "verdict" in champion(registry).tags) == ((CHALLENGER, CHAMPION), False)
        assert cycle(subject)
        assert champion(registry).aliases == (CHAMPION,)
        assert champion(registry).tags["verdict"] == "promoted"

    def test_a_stop_between_steps_goes_on_to_the_same_losses(self, tmp_path, subject, models, registry, monkeypatch):
        """As if nobody had stopped it: the lesson is kept, whatever comes into the log meanwhile."""
        histories, lessons = [], []

        def remember(student, examples, plan, *others):
            lessons.append((examples, plan))
            histories.append(making_teach(student, examples, plan, *others))
            return histories[-1]

        making_teach = making.teach
        monkeypatch.setattr(making, "teach", remember)

        class Stopping(Throttle):
            def __call__(self):
                self.calls = getattr(self, "calls", 0) + 1
                if self.calls == 15:
                    raise Stopped

        stopped = make_subject(tmp_path, models[0], registry, between=Stopping())
        with pytest.raises(Stopped):
            cycle(stopped)
        assert (stopped.desk.job_folder / "training" / "checkpoint").is_dir()
        write_log(tmp_path / "log", stream(*models, 30, seed=3))
        assert cycle(subject)
        student = making.load_student(registry.get(Reference(MODEL, None, 1)).folder)
        again = making_teach(student, *lessons[0], tmp_path / "again", {})
        assert again.losses == histories[0].losses
