"""Reading checkpoint folders: what is understood, and one clear error for everything else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import CheckpointError
from decoding.checkpoint import fingerprint, read_config, read_weights
from tests.decoding.conftest import Checkpoint

WEIGHTS = "model.safetensors"


def edit_config(folder: Path, **changes: Any) -> Path:
    """Overwrite keys of config.json; None removes a key."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> Path:
    """Overwrite tensors (dots written as double underscores); None removes one."""
    tensors: dict[str, torch.Tensor | None] = dict(load_file(folder / WEIGHTS))
    tensors.update({name.replace("__", "."): tensor for name, tensor in changes.items()})
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / WEIGHTS)
    return folder


class TestConfig:
    """config.json becomes a ModelConfig, or is refused."""

    def test_families_differ_in_biases_and_norms(self, checkpoint: Checkpoint) -> None:
        """Qwen2 has q, k, v biases, Qwen3 q/k norms, Llama and Mistral neither."""
        configs = {family: read_config(checkpoint(family)) for family in ("llama", "mistral", "qwen2", "qwen3")}
        assert [family for family, config in configs.items() if config.attention_bias] == ["qwen2"]
        assert [family for family, config in configs.items() if config.qk_norm] == ["qwen3"]
        assert not any(config.output_bias for config in configs.values())

    def test_old_and_new_rope_spellings_agree(self, checkpoint: Checkpoint) -> None:
        """rope_theta with rope_scaling means what rope_parameters does."""
        new = checkpoint(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0})
        expected = read_config(new)
        old = edit_config(new, rope_parameters=None, rope_theta=700.0, rope_scaling={"type": "linear", "factor": 2.0})
        assert read_config(old) == expected
        assert expected.inv_freq[0] == 0.5

    def test_end_tokens_come_from_the_generation_config_first(self, checkpoint: Checkpoint) -> None:
        """generation_config.json knows chat models' second end token; config.json is the fallback."""
        folder = checkpoint()
        (folder / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
        assert read_config(folder).eos_token_ids == (2, 7)
        (folder / "generation_config.json").unlink()
        assert read_config(folder).eos_token_ids == (2,)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model_type": "gpt2"}, "family 'gpt2'"),
            ({"hidden_act": "gelu"}, "activation 'gelu'"),
            ({"quantization_config": {"bits": 4}}, "quantised"),
            ({"hidden_size": "wide"}, "hidden_size"),
            ({"num_hidden_layers": 0}, "num_hidden_layers"),
            ({"vocab_size": None}, "vocab_size"),
            ({"num_key_value_heads": 3}, "heads that do not fit"),
            ({"head_dim": 9}, "heads that do not fit"),
            ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
            ({"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor"),
            ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
            ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rotates its layers differently"),
        ],
    )
    def test_unknown_features_are_refused(self, checkpoint: Checkpoint, changes: dict[str, Any], message: str) -> None:
        """What the runtime would compute wrongly is refused by name, with something to do."""
        with pytest.raises(CheckpointError, match=message) as raised:
            read_config(edit_config(checkpoint(), **changes))
        assert raised.value.do

    def test_a_sliding_window_is_refused_only_if_the_served_length_exceeds_it(self, checkpoint: Checkpoint) -> None:
        """Up to the window, sliding attention is full attention."""
        folder = checkpoint("mistral", sliding_window=32)
        assert read_config(folder, max_length=32).num_layers == 2
        with pytest.raises(CheckpointError, match="see 32 tokens"):
            read_config(folder, max_length=33)

    def test_qwen_slides_only_where_it_says_so(self, checkpoint: Checkpoint) -> None:
        """Qwen's window counts when switched on and a layer uses it."""
        assert read_config(checkpoint("qwen2", sliding_window=8), max_length=64).num_layers == 2
        sliding = checkpoint("qwen2", sliding_window=8, use_sliding_window=True, max_window_layers=1)
        with pytest.raises(CheckpointError, match="see 8 tokens"):
            read_config(sliding, max_length=64)

    def test_a_folder_without_config_is_refused(self, tmp_path: Path) -> None:
        """A path that holds no checkpoint is named."""
        with pytest.raises(CheckpointError, match="does not exist"):
            read_config(tmp_path / "nothing")

    @pytest.mark.parametrize("text", ["{", "[]", "\xff"])
    def test_a_malformed_config_is_refused(self, checkpoint: Checkpoint, text: str) -> None:
        """Broken JSON, something else than an object, or bytes that are no text: one error."""
        folder = checkpoint()
        (folder / "config.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(CheckpointError, match=r"config\.json"):
            read_config(folder)


class TestWeights:
    """safetensors become named tensors, or are refused."""

    def test_shards_read_as_one(self, checkpoint: Checkpoint) -> None:
        """A sharded checkpoint gives the tensors of the single file."""
        folder = checkpoint()
        expected = read_weights(folder)
        shard(folder)
        got = read_weights(folder)
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], expected[name]) for name in expected)

    def test_a_tied_head_is_left_out(self, checkpoint: Checkpoint) -> None:
        """Whether or not the file repeats the embedding as a head, the result is the same."""
        folder = checkpoint(tie_word_embeddings=True)
        embedding = read_weights(folder)["model.embed_tokens.weight"]
        edit_weights(folder, lm_head__weight=embedding.clone())
        assert "lm_head.weight" not in read_weights(folder)

    @pytest.mark.parametrize("kept", [0, 4, 100, 5000])
    def test_a_truncated_file_is_refused(self, checkpoint: Checkpoint, kept: int) -> None:
        """A download that stopped is one error, wherever it stopped."""
        folder = checkpoint()
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
        with pytest.raises(CheckpointError, match="missing or damaged"):
            read_weights(folder)

    def test_a_file_that_is_something_else_is_refused(self, checkpoint: Checkpoint) -> None:
        """A Git LFS pointer in place of the weights is an error, not a crash."""
        folder = checkpoint()
        (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
        with pytest.raises(CheckpointError, match="missing or damaged"):
            read_weights(folder)

    def test_pickled_weights_are_never_read(self, checkpoint: Checkpoint) -> None:
        """A folder with only pytorch_model.bin is refused, with the way to convert it."""
        folder = checkpoint()
        (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="neither") as raised:
            read_weights(folder)
        assert "save_pretrained" in raised.value.do

    def test_a_missing_shard_is_refused(self, checkpoint: Checkpoint) -> None:
        """The index names a file that is not there."""
        folder = checkpoint()
        shard(folder)
        (folder / "shard-1.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"shard-1\.safetensors"):
            read_weights(folder)

    def test_an_index_cannot_lead_outside_the_folder(self, checkpoint: Checkpoint) -> None:
        """A file name with a path in it is refused."""
        folder = checkpoint()
        shard(folder)
        index = {"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="outside the folder"):
            read_weights(folder)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model__norm__weight": None}, "lacks tensors"),
            ({"model__layers__0__self_attn__q_proj__bias": torch.zeros(40)}, "unexpected tensors"),
            ({"model__norm__weight": torch.zeros(39)}, "wrong shape"),
            ({"model__norm__weight": torch.full((40,), float("nan"))}, "NaN"),
            ({"model__norm__weight": torch.full((40,), float("inf"))}, "NaN or infinite"),
            ({"model__norm__weight": torch.zeros(40, dtype=torch.int8)}, "int8"),
        ],
    )
    def test_bad_tensors_are_refused(self, checkpoint: Checkpoint, changes: dict[str, Any], message: str) -> None:
        """Missing, surplus, misshapen, non-finite and integer tensors are each named."""
        with pytest.raises(CheckpointError, match=message):
            read_weights(edit_weights(checkpoint(), **changes))


class TestFingerprint:
    """One number a model."""

    def test_a_copy_has_the_same_fingerprint_however_it_is_split(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        """Folder names, shards and end tokens are not part of the model."""
        folder = checkpoint()
        expected = fingerprint(folder)
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        shard(copy)
        edit_config(copy, eos_token_id=5)
        assert fingerprint(copy) == expected
        assert len(expected) == 64

    def test_one_changed_number_changes_the_fingerprint(self, checkpoint: Checkpoint) -> None:
        """A weight's last bit and a config's epsilon both count."""
        folder = checkpoint()
        seen = {fingerprint(folder)}
        norm = read_weights(folder)["model.norm.weight"].clone()
        norm[3] = torch.nextafter(norm[3], torch.tensor(9.0))
        seen.add(fingerprint(edit_weights(folder, model__norm__weight=norm)))
        seen.add(fingerprint(edit_config(folder, rms_norm_eps=1e-5)))
        assert len(seen) == 3


def shard(folder: Path) -> None:
    """Split model.safetensors in two behind an index."""
    tensors = sorted(load_file(folder / WEIGHTS).items())
    halves = [dict(tensors[:7]), dict(tensors[7:])]
    index = {}
    for number, half in enumerate(halves):
        save_file({name: tensor.clone() for name, tensor in half.items()}, folder / f"shard-{number}.safetensors")
        index.update(dict.fromkeys(half, f"shard-{number}.safetensors"))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / WEIGHTS).unlink()
