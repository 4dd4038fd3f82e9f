"""Muon for the matrices of the layers, AdamW for everything else, as one optimiser to step and to save."""

from typing import Any

import torch
from torch import nn

from training.muon import Muon


class JointOptimizer:
    """Two optimisers over the parameters of one model.

    Args:
        matrix_lr: peak learning rate of Muon, for two-dimensional weights of layers.
        vector_lr: peak learning rate of AdamW, for embeddings, heads and norms.
        weight_decay: of the matrices only.
    """

    def __init__(self, model: nn.Module, matrix_lr: float, vector_lr: float, weight_decay: float):
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen]
        self._muon = Muon(matrices, lr=matrix_lr, weight_decay=weight_decay)
        self._adam = torch.optim.AdamW(rest, lr=vector_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self._parts: tuple[torch.optim.Optimizer, ...] = (self._muon, self._adam)
        self._peaks = (matrix_lr, vector_lr)
        self._num_matrices = len(matrices)

    def scale_lr(self, factor: float) -> None:
        """Set every learning rate to ``factor`` times its peak."""
        for part, peak in zip(self._parts, self._peaks, strict=True):
            for group in part.param_groups:
                group["lr"] = peak * factor

    def step(self) -> None:
        """Apply the gradients."""
        for part in self._parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """State of both, numbered through: matrices first."""
        muon, adam = (part.state_dict() for part in self._parts)
        shifted = {self._num_matrices + index: value for index, value in adam["state"].items()}
        return {"state": {**muon["state"], **shifted}, "param_groups": [muon["param_groups"], adam["param_groups"]]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        matrices: dict[int, Any] = {}
        rest: dict[int, Any] = {}
        for index, value in state_dict["state"].items():
            if index < self._num_matrices:
                matrices[index] = value
            else:
                rest[index - self._num_matrices] = value
        for part, state, groups in zip(self._parts, (matrices, rest), state_dict["param_groups"], strict=True):
            part.load_state_dict({"state": state, "param_groups": groups})
