import torch

from tests.training.online.streams import LESSON, stream
from training.checkpoint import named_weights
from training.distillation.export import load_student
from training.gate import Outcome
from training.online import learner as learner_module
from training.online.learner import OnlineLearner
from training.online.split import is_held_out


def observing(student, traces, **changes):
    """A learner that has seen ``traces``."""
    learner = OnlineLearner(student, LESSON.model_copy(update=changes))
    for trace in traces:
        learner.observe(trace)
    return learner


class TestOnlineLearner:
    def test_a_topic_that_the_draft_does_not_know_ends_in_a_promotion(self, models, traces):
        """The candidate saves runs on held-out traces, the gate says so, and the champion learns nothing before."""
        student = load_student(models[1])
        before = {name: weights.clone() for name, weights in named_weights(student).items()}
        learner = observing(student, traces)
        assert learner.due
        candidate = learner.update()
        assert all(torch.equal(before[name], weights) for name, weights in named_weights(student).items())
        trial = learner.judge(candidate)
        assert trial.verdict.outcome is Outcome.PROMOTED
        assert trial.candidate.tokens_per_target_run > trial.champion.tokens_per_target_run
        learner.promote(candidate)
        assert all(torch.equal(candidate[name], weights) for name, weights in named_weights(student).items())
        assert learner.held_out == []
        assert not learner.due

    def test_a_topic_that_the_draft_knows_ends_in_none(self, models, traces):
        """A draft that is the target itself has nothing to gain, so whatever it learns is refused."""
        learner = observing(load_student(models[0]), traces)
        trial = learner.judge(learner.update())
        assert trial.champion.alpha > 0.999
        assert trial.verdict.outcome is Outcome.REFUSED

    def test_a_copy_of_the_champion_is_refused(self, models, traces):
        """No difference is not more than the margin."""
        student = load_student(models[1])
        trial = observing(student, traces).judge(named_weights(student))
        assert trial.verdict.outcome is Outcome.REFUSED
        assert trial.verdict.difference == 0

    def test_poisoned_weights_are_refused(self, models, traces):
        """Random weights in place of a good champion's."""
        torch.manual_seed(0)
        student = load_student(models[0])
        poison = {name: torch.randn_like(weights) for name, weights in named_weights(student).items()}
        assert observing(student, traces).judge(poison).verdict.outcome is Outcome.REFUSED

    def test_held_out_prompts_are_never_learned(self, models, traces, monkeypatch):
        """Neither the topic's nor those of other topics that are replayed."""
        seen = []
        monkeypatch.setattr(learner_module, "examples_of", lambda chosen: seen.extend(chosen) or [])
        monkeypatch.setattr(learner_module, "teach", lambda *_: None)
        monkeypatch.setattr(learner_module, "fitted_temperature", lambda *_: 1.0)
        learner = OnlineLearner(load_student(models[1]), LESSON, others=stream(*models, 60, topic="math", seed=5))
        for trace in traces:
            learner.observe(trace)
        learner.update()
        assert seen
        assert {trace.topic for trace in seen} == {"sql", "math"}
        assert not any(is_held_out(trace, LESSON.heldout_share) for trace in seen)
        assert len(learner.held_out) + sum(trace.topic == "sql" for trace in seen) == len(traces)

    def test_an_update_is_due_every_so_many_requests(self, models, traces):
        """Counted from the last one; held-out requests count, too."""
        learner = observing(load_student(models[1]), traces[:99], steps=1)
        assert not learner.due
        learner.observe(traces[99])
        assert learner.due
        learner.update()
        assert not learner.due

    def test_what_was_not_promoted_is_learned_again(self, models, traces, monkeypatch):
        """The next candidate goes on from the champion, with everything that the champion has not seen."""
        lessons = []
        monkeypatch.setattr(learner_module, "examples_of", lambda chosen: lessons.append(list(chosen)) or [])
        monkeypatch.setattr(learner_module, "teach", lambda *_: None)
        monkeypatch.setattr(learner_module, "fitted_temperature", lambda *_: 1.0)
        learner = observing(load_student(models[1]), traces[:60], replay_share=0.0)
        candidate = learner.update()
        for trace in traces[60:]:
            learner.observe(trace)
        learner.update()
        learner.promote(candidate)
        assert len(lessons[1]) > len(lessons[0])
        assert lessons[1][: len(lessons[0])] == lessons[0]
        for trace in stream(*models, 20, seed=8):
            learner.observe(trace)
        learner.update()
        assert not {id(trace) for trace in lessons[2]} & {id(trace) for trace in lessons[1]}
