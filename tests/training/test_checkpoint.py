"""A checkpoint is replaced whole or not at all, and a job goes on from it as if it had never stopped."""

import shutil

import pytest
import torch
from torch import nn

import training.checkpoint
from training.checkpoint import load_checkpoint, load_others, save_checkpoint
from training.joint_optimizer import JointOptimizer


def make(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6), nn.LayerNorm(6))
    return model, JointOptimizer(model, matrix_lr=0.02, vector_lr=0.01, weight_decay=0.01)


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        data = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        loss = (model(data) - data.flip(-1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    """Five steps, a checkpoint and five more give the weights of ten steps, bit for bit."""
    straight, optimizer = make()
    train(straight, optimizer, 10)
    first, optimizer = make()
    train(first, optimizer, 5)
    save_checkpoint(tmp_path / "checkpoint", first, optimizer, {"step": 5})
    second, optimizer = make(seed=9)
    assert load_checkpoint(tmp_path / "checkpoint", second, optimizer) == {"step": 5}
    train(second, optimizer, 5, start=5)
    for ours, expected in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, expected)


def test_there_may_be_no_checkpoint(tmp_path):
    """Nothing is loaded from an empty folder."""
    assert load_checkpoint(tmp_path / "checkpoint", *make()) is None


@pytest.mark.parametrize("after", ["save_file", "write", "rename"])
def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path, monkeypatch, after):
    """Wherever saving stops, the old or the new state can be loaded."""
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, *make(), {"step": 1})

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    if after == "save_file":
        monkeypatch.setattr(training.checkpoint, "save_file", stop)
    elif after == "write":
        monkeypatch.setattr(training.checkpoint.json, "dumps", stop)
    else:  # between moving the old one away and the new one in
        moved = []

        def rename(self, target):
            if moved:
                raise KeyboardInterrupt
            moved.append(shutil.move(self, target))

        monkeypatch.setattr(type(folder), "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, *make(1), {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(folder, *make(2)) == {"step": 1}
    save_checkpoint(folder, *make(1), {"step": 2})
    assert load_checkpoint(folder, *make(2)) == {"step": 2}


def test_a_second_kill_while_saving_still_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    """With only the old one left from a first kill, a kill of the next saving does not take that one away."""
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, *make(), {"step": 1}, {"ema": {"a": torch.ones(2)}})
    folder.rename(folder.with_suffix(".old"))

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(folder), "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, *make(1), {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(folder, *make(2)) == {"step": 1}
    assert torch.equal(load_others(folder)["ema"]["a"], torch.ones(2))
