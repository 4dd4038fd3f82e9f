"""A second version of every draft of the starter, for champions to move to and back."""

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from decoding.checkpoint import SINGLE_FILE
from serving.config import Deployment
from serving.deployment import open_registry
from training.starter.corpus import TOPICS

NOISE = 0.1  # standard deviation, in those of each matrix: other proposals now and then, hardly worse ones


def double_versions(deployment: Deployment) -> None:
    """Every topic's draft once more, as version 2: the same with noise on its weights.

    So a request that goes on with the other version's weights, or with rows that these have written, is proposed
    other tokens, and what is answered nevertheless the same was tested.
    """
    registry = open_registry(deployment)
    for seed, topic in enumerate(TOPICS):
        first = registry.resolve(f"registry://{deployment.name}-draft-{topic}@v1")
        with tempfile.TemporaryDirectory(prefix="polydraft-") as place:
            folder = write_noisy(first.folder, Path(place) / topic, seed)
            registry.register(first.model, folder, {**first.tags, "job": "noise"})


def write_noisy(folder: Path, copy: Path, seed: int, noise: float = NOISE) -> Path:
    """A copy of a model folder whose matrices differ by independent normal noise; vectors (norms) stay."""
    shutil.copytree(folder, copy)
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(copy / SINGLE_FILE)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            wide = tensor.float()
            drawn = torch.randn(wide.shape, generator=generator)
            weights[name] = (wide + noise * wide.std() * drawn).to(tensor.dtype)
    save_file(weights, copy / SINGLE_FILE, metadata={"format": "pt"})
    return copy
