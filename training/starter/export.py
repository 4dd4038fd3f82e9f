"""Writing trained models as Hugging Face folders in 16 bits, and what ships with them."""

import json
import shutil
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

ATTRIBUTION = """\
| topic | source | licence |
|---|---|---|
| sql | Spider (Yu et al. 2018) | CC BY-SA 4.0 |
| sql | WikiSQL (Zhong et al. 2017), as text2sql-data distributes it | BSD-3-Clause |
| math | GSM8K train (Cobbe et al. 2021), calculator marks removed | MIT |
| math | AQuA-RAT (Ling et al. 2017) | Apache-2.0 |
| python | MBPP (Austin et al. 2021), ids outside the test range | CC BY 4.0 |
| python | GPTeacher Codegen | MIT |
| medical | MedQuAD (Ben Abacha and Demner-Fushman 2019) | CC BY 4.0 |
| shell | tldr-pages | CC BY 4.0 |
| shell | NL2Bash (Lin et al. 2018) | MIT |
| chat | OpenAssistant Conversations, 100 English trees | Apache-2.0 |
| chat | GPTeacher Roleplay | MIT |
| out of scope | CLINC150 (Larson et al. 2019) | CC BY 3.0 |
"""


def save_model(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Save ``model`` as safetensors of ``dtype`` with its tokenizer; ``model`` itself stays as it is."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_manifest(folder: Path, topics: tuple[str, ...], tags: dict[str, dict[str, str]]) -> None:
    """``starter.json``: what the folder holds, for the registry to import."""
    names = ("general", *topics)
    document = {
        "name": "starter",
        "format": 1,
        "topics": list(topics),
        "target": "target",
        "drafts": {name: f"drafts/{name}" for name in names},
        "router": "router",
        "tags": tags,
    }
    (folder / "starter.json").write_text(json.dumps(document, indent=2) + "\n")


def write_card(folder: Path, target: dict[str, object], drafts: dict[str, dict[str, float]]) -> None:
    """``MODEL_CARD.md``: data, attribution, loss, acceptance by topic."""
    losses: dict[str, float] = target["losses"]  # type: ignore[assignment]
    rows = "\n".join(
        f"| {topic} | {losses[topic]:.2f} | {drafts[topic]['pooled_t0']:.3f} / {drafts[topic]['pooled_t1']:.3f} "
        f"| {drafts[topic]['alpha_t0']:.3f} / {drafts[topic]['alpha_t1']:.3f} | {drafts[topic]['head']} |"
        for topic in losses
    )
    (folder / "MODEL_CARD.md").write_text(
        f"""# The starter's models

A small target and its drafts, to try polydraft with no download. They write text in the style of six public
datasets; they know nothing and should be asked nothing that matters.

- **Target**: Llama architecture, {target["parameters"]:,} parameters, {target["layers"]} layers, byte-level BPE of
  {target["vocab_size"]:,}; trained from scratch for {target["epochs"]:.2f} passes over {target["tokens"]:,} tokens
  ({target["steps"]} steps, {target["note"]}).
- **Drafts**: one a topic and a general one, one layer, {target["draft_parameters"]:,} parameters each; distilled from
  the target's own answers to training prompts, the topic drafts going on from the general one. Prompts and answers are
  {target["text_tokens"]:,} tokens a topic; where a topic has too few prompts, each is answered up to {target["turns"]}
  times. A head covers only the most frequent tokens of those answers, which make up {target["coverage"]:.1%} of them
  (`output_vocabulary.json`; the general draft's: {drafts["general"]["head"]} tokens).
- **Format**: `<|user|>question<|assistant|>answer<|end|>`; the tokenizer carries the chat template. The
  target is bfloat16, the drafts are float16.

Validation loss is nats a token of the dataset's responses. Alpha is the share of draft tokens that the target accepts
given that the position was reached, teacher-forced on its own answers to validation prompts, at temperature 0 / 1.

| topic | validation loss | alpha, general draft | alpha, topic draft | head of the topic draft |
|---|--:|--:|--:|--:|
{rows}

Made by `polydraft starter build`. Weights: Apache-2.0. Trained on these datasets, whose authors we thank:

{ATTRIBUTION}"""
    )
