"""The versions that benches swap are sound, and differ."""

import torch
from safetensors.torch import load_file

from benchmarks.second_versions import NOISE, write_noisy
from decoding.load import load_draft
from decoding.span import Span
from drafts.soundness import check_sound
from tests.serving.toy_folder import write_toy


def test_a_noisy_copy_is_a_sound_draft_that_says_something_else(tmp_path):
    """Every matrix differs a little, norms do not, a seed gives the same again; logits are near, not equal."""
    folder = write_toy(tmp_path / "first")
    copy, again = (write_noisy(folder, tmp_path / name, seed=1) for name in ("copy", "again"))
    before, after, repeated = (load_file(each / "model.safetensors") for each in (folder, copy, again))
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], repeated[name])
        share = float((after[name] - tensor).std() / tensor.std()) if tensor.ndim > 1 else 0.0
        assert abs(share - (NOISE if tensor.ndim > 1 else 0)) < 0.02
    said = []
    for each in (folder, copy):
        model = load_draft(each, num_slots=2, max_length=16)
        check_sound(model, each.name)
        said.append(model.forward([Span(model.cache.allocate(), [3, 5, 7])])[0].clone())
    assert not torch.equal(*said)
    assert float((said[0] - said[1]).std() / said[0].std()) < 0.5
