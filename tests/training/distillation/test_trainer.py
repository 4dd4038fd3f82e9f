"""Training resumes to the same losses after any kill, keeps what validation liked, and reaches the least rejection."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from configs.errors import ConfigError, CorpusError
from tests.training.distillation.small import Bigram, random_laws, stream
from training.checkpoint import read_progress
from training.distillation.examples import from_text
from training.distillation.measure import measure
from training.distillation.plan import Plan
from training.distillation.trainer import train

LAWS = random_laws(24, seed=1)
LEARNED, HELD_OUT = (stream(LAWS, texts=40, length=24, seed=seed, top=12) for seed in (1, 2))
KILLED = Plan(
    learning_rate=0.02, tokens_per_batch=200, steps=240, ema=0.9, save_every=3, validate_every=10, patience=9, loss="lk"
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(folder: Path, plan=KILLED, **options):
    student = Bigram(24, 24)
    history = train(student, [LEARNED], folder, plan, {"target": "t"}, validation=[HELD_OUT], **options)
    return student, history


def in_a_child(folder: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            run(folder)
        finally:
            os._exit(0)
    return child


def test_killed_at_twenty_random_moments_a_run_has_the_losses_of_one_that_was_not(tmp_path):
    """SIGKILL, again and again: losses, validations and final weights are equal, bit for bit."""
    straight, expected = run(tmp_path / "straight")  # first: children are born with torch's late imports behind them
    moments = random.Random(4)
    reached = []
    for _ in range(20):
        child = in_a_child(tmp_path / "killed")
        time.sleep(moments.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        history = read_progress(tmp_path / "killed" / "checkpoint").get("history")
        reached.append(len(history["losses"]) if history else 0)
    assert reached == sorted(reached)
    assert len(set(reached)) >= 3, "no kill came between two checkpoints"
    resumed, history = run(tmp_path / "killed")
    assert history == expected
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_finished_run_is_only_loaded(tmp_path):
    """A second call takes no step and gives the same weights; another stamp starts over."""
    student, history = run(tmp_path)
    steps = []
    again, same = run(tmp_path, report=lambda done, _: steps.append(done.step))
    assert steps == []
    assert same == history
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))
    train(Bigram(24, 24), [LEARNED], tmp_path, Plan(steps=2), {"target": "u"}, report=lambda d, _: steps.append(d.step))
    assert steps == [1, 2]


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best(tmp_path):
    """Patience counts validations; the weights that come back are those of the best one, averaged ones if asked."""
    plan = Plan(learning_rate=0.05, tokens_per_batch=200, steps=3000, ema=0.9, validate_every=20, patience=3)
    student, history = run(tmp_path, plan)
    assert history.step < 3000
    scores = [figures.score for _, figures in history.validations]
    assert max(scores) == history.best > scores[0]
    assert scores.index(max(scores)) == len(scores) - 4
    assert measure(student, [HELD_OUT]).score == history.best


def test_total_variation_drives_rejection_to_its_least(tmp_path):
    """A student of rank 2 on one topic: 1 - alpha ends within .01 of what direct minimisation finds; KL stays above."""
    laws = random_laws(16, seed=3)
    examples = stream(laws, texts=60, length=40, seed=5)
    contexts = examples.token_ids[examples.places - 1].long()
    share = contexts.bincount(minlength=16).float() / len(contexts)
    least = min(least_rejection(laws, share, seed) for seed in range(2))

    def after(loss):
        student = Bigram(16, 2)
        plan = Plan(loss=loss, argmax_weight=0, learning_rate=0.15, steps=300, tokens_per_batch=2400, save_every=300)
        train(student, [examples], tmp_path / loss, plan, {})
        return 1 - measure(student, [examples]).alpha_t1

    assert after("tvd") == pytest.approx(least, abs=0.01)
    assert after("forward_kl") > least + 0.05


def least_rejection(laws, share, seed):
    """1 - alpha of the best rank-2 table, by gradient descent on the expectation itself."""
    torch.manual_seed(seed)
    left, right = (torch.randn(16, 2).requires_grad_(True) for _ in range(2))
    bias = torch.zeros(16, requires_grad=True)
    optimizer = torch.optim.Adam([left, right, bias], lr=0.05)
    for step in range(700):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 700)
        table = (left @ right.T + bias).softmax(-1)
        distance = 0.5 * (table - laws).abs().sum(-1)
        kl = (laws * (laws.log() - table.clamp(min=1e-9).log())).sum(-1)
        loss = (share * (kl if step < 200 else distance)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float((share * distance.detach()).sum())


def test_weights_of_positions_count(tmp_path):
    """Laws of weight 0 teach nothing: with all weight on half of the contexts, those are learnt better."""
    even = LEARNED.token_ids[LEARNED.places - 1].long() % 2 == 0
    gains = {}
    for name, chosen in (("even", even), ("odd", ~even)):
        examples = type(LEARNED)(**{**vars(LEARNED), "weights": chosen.float()})
        student = Bigram(24, 24)
        train(student, [examples], tmp_path / name, Plan(learning_rate=0.05, steps=60, tokens_per_batch=400), {})
        only_even = type(LEARNED)(
            **{**vars(LEARNED), **{k: vars(LEARNED)[k][even] for k in ("places", "weights", "top_ids", "top_probs")}}
        )
        gains[name] = measure(student, [only_even]).alpha_t1
    assert gains["even"] > gains["odd"] + 0.1


def test_nothing_to_learn_from_is_an_error(tmp_path):
    """Texts without answers are refused."""
    with pytest.raises(CorpusError, match="nothing to learn from"):
        train(Bigram(4, 2), [from_text([([1], 0)])], tmp_path, Plan(), {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "jds"}, "no loss jds"),
        ({"argmax_weight": 1.5}, "a share, 0 to 1"),
        ({"steps": 0}, "at least 1"),
        ({"learning_rate": -1}, "at least 0"),
        ({"patience": 2}, "there are none"),
        ({"coverage": 0}, "no token"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings, message):
    """Where it is made, with the value."""
    with pytest.raises(ConfigError, match=message):
        Plan(**settings)


def test_the_learning_rate_rises_then_falls_to_zero():
    """Warm-up over a share of the steps, linear decay from the first step on."""
    plan = Plan(learning_rate=1.0, warmup_lr=0.1)
    assert [plan.rate(step, 100) for step in (0, 9, 50, 99)] == pytest.approx([0.1, 0.91, 0.5, 0.01])
