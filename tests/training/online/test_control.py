"""The offline-distilled control at the gate."""

import pytest

from registry.names import CHALLENGER, CHAMPION, Reference
from tests.training.online.streams import MODEL, make_subject, stream, write_log
from training.checkpoint import named_weights, set_weights
from training.distillation.export import load_student
from training.distillation.trainer import History
from training.online import control, making
from training.online.control import MOST_LESSONS, control_for, root_of
from training.online.load import Stopped, Throttle
from training.online.update import cycle


@pytest.fixture
def subject(tmp_path, models, traces, registry):
    """A topic with enough traces in its log for an update and a verdict."""
    write_log(tmp_path / "log", traces)
    return make_subject(tmp_path, models[0], registry)


def teaching(weights, lessons=None):
    """In place of training: the student gets the weights in a folder."""

    def teach(student, examples, plan, folder, stamp, report=None):
        if lessons is not None:
            lessons.append((examples, plan))
        set_weights(student, named_weights(load_student(weights)))
        return History([1.0] * plan.steps)

    return teach


def version(registry, alias):
    return registry.get(Reference(MODEL, alias, None))


class TestControl:
    def test_a_candidate_that_beats_the_champion_and_not_the_control_is_refused(
        self, subject, registry, models, monkeypatch
    ):
        """The reason is a tag, and the control is in the note of its run."""
        monkeypatch.setattr(control, "teach", teaching(models[0]))  # knows all there is
        assert not cycle(subject)
        refused = version(registry, CHALLENGER)
        assert refused.version == 2
        assert version(registry, CHAMPION).version == 1
        assert "behind the offline-distilled control" in refused.tags["verdict_reason"]
        assert "offline control" in registry.client.get_run(refused.run_id).data.tags["mlflow.note.content"]
        assert not (subject.desk.folder / "control").exists()

    def test_a_deployment_may_do_without(self, tmp_path, traces, registry, models, monkeypatch):
        """learning.control: false."""
        write_log(tmp_path / "log", traces)
        subject = make_subject(tmp_path, models[0], registry, control=False)
        monkeypatch.setattr(control, "teach", teaching(models[0]))
        assert cycle(subject)

    def test_the_control_learns_once_from_the_root_what_the_whole_line_has_learned(
        self, tmp_path, subject, registry, models, monkeypatch
    ):
        """Two lessons: twice the steps, the traces of both, from the version that was not learned online."""
        lessons = []
        monkeypatch.setattr(making, "fitted_temperature", lambda *_: 1.0)
        monkeypatch.setattr(control, "teach", teaching(models[1], lessons))
        assert cycle(subject)
        write_log(tmp_path / "log", stream(*models, 130, seed=3))
        monkeypatch.setattr(making, "teach", teaching(models[0]))
        cycle(subject)
        candidate = registry.get(Reference(MODEL, None, 3))
        assert candidate.tags["parent_version"] == "2"
        root, count = root_of(subject, candidate)
        assert (root.version, count) == (1, 2)
        (first, short), (second, long) = lessons
        assert long.steps == 2 * short.steps == 2 * subject.setting.learning.steps
        assert len(second.starts) > len(first.starts) + 60

    def test_a_line_is_followed_only_so_far(self, subject, registry, models):
        """What is older is hardly in the champion any more."""
        tags = {"topic": "sql", "job": "online"}
        last = None
        for parent in range(1, MOST_LESSONS + 3):
            last = registry.register(MODEL, models[1], tags, parent_version=parent)
        root, lessons = root_of(subject, last)
        assert lessons == MOST_LESSONS
        assert root.version == last.version - MOST_LESSONS

    def test_where_the_root_is_gone_the_candidate_is_judged_without(self, subject, registry, models):
        """Its parent was removed, say."""
        tags = {"topic": "sql", "job": "online", "learned_until": str(subject.setting.log.end())}
        orphan = registry.register(MODEL, models[1], tags, parent_version=99)
        assert control_for(subject, orphan) is None

    def test_a_stop_while_the_control_learns_goes_on_with_it(self, tmp_path, subject, registry, models, monkeypatch):
        """The candidate still waits, and is promoted by the next cycle that looks."""
        losses = []
        learn = control.teach

        def remember(*arguments):
            losses.append(learn(*arguments).losses)
            return History(losses[-1])

        monkeypatch.setattr(control, "teach", remember)

        class Stopping(Throttle):
            def __call__(self):
                if (subject.desk.folder / "control" / "training" / "checkpoint").is_dir():
                    raise Stopped

        with pytest.raises(Stopped):
            cycle(make_subject(tmp_path, models[0], registry, between=Stopping()))
        assert subject.desk.state.pending.version == 2
        assert cycle(subject)
        assert version(registry, CHAMPION).version == 2
        assert len(losses) == 1
        assert len(losses[0]) == subject.setting.learning.steps
