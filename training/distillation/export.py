"""A trained draft as an ordinary Hugging Face folder."""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerBase

from decoding.output_vocabulary import write_output_vocabulary


def load_student(folder: Path) -> Any:
    """The causal language model of ``folder`` in float32, to be trained."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def fresh_student(like: Path, seed: int) -> Any:
    """Random weights in the shape of the model in ``like``."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(like), dtype=torch.float32)


def export_draft(
    student: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, vocabulary: Sequence[int] | None = None
) -> Path:
    """Save float16 safetensors, tokenizer and, for a trimmed head, ``output_vocabulary.json``; whole or not at all.

    ``student`` stays as it is. The weights of the whole head are kept: transformers reads a trimmed draft, too.
    """
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    copy.deepcopy(student).to("cpu", torch.float16).save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    if vocabulary is not None:
        write_output_vocabulary(fresh, vocabulary)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder
