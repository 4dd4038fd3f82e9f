"""Checkpoints of a training job: safetensors and JSON, replaced whole or not at all."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Stateful(Protocol):
    """An optimiser, as far as saving it goes."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Stateful,
    progress: dict[str, Any],
    others: Mapping[str, Weights] | None = None,
) -> None:
    """Write weights, optimiser state and ``progress`` beside ``folder``, then move them into place.

    A kill at any moment leaves either the old checkpoint or the new one, at ``folder`` or at its
    ``.old`` twin, which `load_checkpoint` falls back to.

    Args:
        others: further sets of weights by name, such as averages.
    """
    fresh, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    state = optimizer.state_dict()
    save_file(named_weights(model), fresh / "model.safetensors")
    save_file(_flat(state["state"]), fresh / "optimizer.safetensors")
    for name, weights in (others or {}).items():
        save_file(weights, fresh / f"{name}.safetensors")
    document = {"progress": progress, "param_groups": state["param_groups"], "others": sorted(others or {})}
    (fresh / "progress.json").write_text(json.dumps(document))
    if folder.exists():  # else the twin is all there is, until the new one is in place
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Stateful) -> dict[str, Any] | None:
    """Restore what `save_checkpoint` wrote and return its ``progress``, or None if there is none."""
    place = _place(folder)
    if not (place / "progress.json").is_file():
        return None
    set_weights(model, load_file(place / "model.safetensors"))
    document = json.loads((place / "progress.json").read_text())
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(place / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": document["param_groups"]})
    progress: dict[str, Any] = document["progress"]
    return progress


def load_others(folder: Path) -> dict[str, Weights]:
    """The further sets of weights of a checkpoint, by name."""
    place = _place(folder)
    names = json.loads((place / "progress.json").read_text()).get("others", [])
    return {name: load_file(place / f"{name}.safetensors") for name in names}


def read_progress(folder: Path) -> dict[str, Any]:
    """The ``progress`` of a checkpoint without loading it; empty if there is none."""
    file = _place(folder) / "progress.json"
    progress: dict[str, Any] = json.loads(file.read_text())["progress"] if file.is_file() else {}
    return progress


def named_weights(model: nn.Module) -> Weights:
    """The parameters of a model by name, shared ones once; not copied."""
    return {name: tensor.detach().contiguous() for name, tensor in model.named_parameters()}


@torch.no_grad()
def set_weights(model: nn.Module, weights: Weights) -> None:
    """Overwrite the parameters of ``model``."""
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])


def _place(folder: Path) -> Path:
    return folder if folder.exists() else folder.with_suffix(".old")


def _flat(state: dict[int, Weights]) -> Weights:
    return {f"{index}.{name}": value.contiguous() for index, values in state.items() for name, value in values.items()}
