"""`polydraft starter build`: every stage in order, each skipped when its result is there."""

import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from decoding.checkpoint import fingerprint
from decoding.output_vocabulary import write_output_vocabulary
from drafts.compatibility import tokenizer_fingerprint
from drafts.pool import GENERAL
from training.starter.answers import TURNS, Answers, choose_prompts, write_answers, write_texts
from training.starter.batches import encode
from training.starter.corpus import TOPICS, Example, read_split, read_topic
from training.starter.distil import DistilConfig, distil, measure, output_vocabulary
from training.starter.export import save_model, write_card, write_manifest
from training.starter.pretrain import PretrainConfig, pretrain
from training.starter.router import build_router
from training.starter.tokenizer import train_tokenizer

logger = logging.getLogger(__name__)

# Tokens a batch of a draft: its logits, 4 bytes times the vocabulary each, must fit a last-level cache to be fast.
SMALL_BATCH = 2048


@dataclass(frozen=True)
class Size:
    """Budgets of a build. The defaults make the shipped starter; `QUICK` tries the recipe in a minute."""

    vocab_size: int = 4096
    target_layers: int = 8
    target_width: int = 320
    target_mlp: int = 896
    draft_width: int = 192
    draft_mlp: int = 384
    examples: int | None = None  # a topic; None is all
    max_length: int = 768
    draft_epochs: float = 0.2  # of the general draft over the data, before it meets the target
    text_tokens: int = 1_200_000  # of prompts and answers to learn from, a topic
    held_out: int = 40  # prompts to measure by, a topic
    answer_tokens: int = 160
    general_epochs: float = 2.0
    topic_epochs: float = 3.0
    coverage: float = 0.995  # of the target's answers, by the tokens that a draft's head keeps


QUICK = Size(
    vocab_size=512,
    target_layers=2,
    target_width=64,
    target_mlp=128,
    draft_width=64,
    draft_mlp=64,
    examples=60,
    max_length=192,
    text_tokens=600,
    held_out=12,
    answer_tokens=24,
)


def build(data: Path | None, work: Path, epochs: float = 3.0, quick: bool = False) -> Path:
    """Train everything and return the folder that ships.

    Args:
        data: folder of JSON lines; None reads the Hugging Face hub.
        work: checkpoints and intermediate results; a second run goes on where the first one stopped.
        epochs: passes of the target over the data.
        quick: toy budgets, to see every stage run.
    """
    if data is None:
        from training.starter.hub import download

        data = download(work / "data")
    size = QUICK if quick else Size()
    torch.manual_seed(1)
    transformers_logging.disable_progress_bar()
    train = _limited(read_split(data, "train"), size)
    tokenizer = _tokenizer(train, size, work / "tokenizer")
    target_folder = _target(train, data, tokenizer, size, work, epochs)
    answers = {topic: answers_to_learn(data, topic, tokenizer, size, work, target_folder) for topic in TOPICS}
    held_out = {topic: _held_out(data, topic, tokenizer, size, work, target_folder) for topic in TOPICS}
    figures = _drafts(train, tokenizer, size, work, answers, held_out, fingerprint(target_folder))
    build_router(data, work / "ship" / "router", work / "embeddings", quick=quick)
    tokens = sum(len(sample.token_ids) for sample in encode(tokenizer, train, size.max_length))
    return _ship(work, figures, target_folder, epochs, tokens)


def _limited(examples: list[Example], size: Size) -> list[Example]:
    if size.examples is None:
        return examples
    by_topic: dict[str, list[Example]] = {}
    for example in examples:
        by_topic.setdefault(example.topic, []).append(example)
    return [example for group in by_topic.values() for example in group[: size.examples]]


def _tokenizer(train: Iterable[Example], size: Size, folder: Path) -> PreTrainedTokenizerBase:
    if not (folder / "tokenizer.json").is_file():
        logger.info("tokenizer: %d entries", size.vocab_size)
        train_tokenizer(
            (text for example in train for text in (example.prompt, example.response)), size.vocab_size, folder
        )
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer


def _config(size: Size, width: int, mlp: int, layers: int, kv_heads: int | None = None) -> LlamaConfig:
    heads = width // 64
    return LlamaConfig(
        vocab_size=size.vocab_size,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads or heads,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
        rms_norm_eps=1e-6,
        initializer_range=0.02,
    )


def _target(
    train: list[Example], data: Path, tokenizer: PreTrainedTokenizerBase, size: Size, work: Path, epochs: float
) -> Path:
    folder = work / "ship" / "target"
    done = work / "target" / "done.json"
    # The type of checkpoints in use; products of several rows are cheapest in it where a processor has tiles.
    wanted = {"epochs": epochs, "dtype": "bfloat16"}
    if done.is_file() and json.loads(done.read_text()) == wanted:
        return folder
    config = _config(size, size.target_width, size.target_mlp, size.target_layers)
    validation = {t: encode(tokenizer, read_topic(data, t, "validation")[:150], size.max_length) for t in TOPICS}
    samples = encode(tokenizer, train, size.max_length)
    model = pretrain(config, samples, validation, work / "target", PretrainConfig(epochs=epochs))
    save_model(model, tokenizer, folder, torch.bfloat16)
    done.write_text(json.dumps(wanted))
    return folder


def answers_to_learn(
    data: Path, topic: str, tokenizer: PreTrainedTokenizerBase, size: Size, work: Path, target: Path
) -> Answers:
    """The target's answers to training prompts: what drafts learn from."""
    prompts = _prompts(data, topic, "train", tokenizer, size)
    folder = work / "answers" / "train" / topic
    answers = write_texts(folder, prompts, 0, size.answer_tokens, size.text_tokens, target)
    logger.info("answers: %s, %d texts, %d tokens", topic, len(answers), len(answers.token_ids))
    return answers


def _held_out(
    data: Path, topic: str, tokenizer: PreTrainedTokenizerBase, size: Size, work: Path, target: Path
) -> Answers:
    prompts = _prompts(data, topic, "validation", tokenizer, size)
    chosen = choose_prompts(prompts, size.held_out, size.max_length // 2, seed=1)
    return write_answers(work / "answers" / "validation" / topic, chosen, 0, size.answer_tokens, seed=1, target=target)


def _prompts(data: Path, topic: str, split: str, tokenizer: PreTrainedTokenizerBase, size: Size) -> list[list[int]]:
    """Those that leave half of the length to their answers."""
    texts = [f"<|user|>{example.prompt}<|assistant|>" for example in read_topic(data, topic, split)]
    prompts: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [prompt for prompt in prompts if len(prompt) <= size.max_length // 2]


def _drafts(
    train: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    size: Size,
    work: Path,
    answers: dict[str, Answers],
    held_out: dict[str, Answers],
    target: str,
) -> dict[str, dict[str, float]]:
    """The general draft, then a draft a topic from it; returns held-out acceptance by topic."""
    config = _config(size, size.draft_width, size.draft_mlp, layers=1, kv_heads=1)
    samples = encode(tokenizer, train, size.max_length)
    plan = PretrainConfig(epochs=size.draft_epochs, tokens_per_batch=SMALL_BATCH)
    general = pretrain(config, samples, {}, work / "draft", plan)
    pooled = DistilConfig(epochs=size.general_epochs, learning_rate=1.5e-3)
    everything = list(held_out.values())
    distil(general, list(answers.values()), work / "drafts" / "general", pooled, target)
    kept = output_vocabulary(list(answers.values()), size.coverage)
    _save_draft(general, tokenizer, work / "ship" / "drafts" / "general", kept)
    figures: dict[str, dict[str, float]] = {GENERAL: {**measure(general, everything, kept), "head": len(kept)}}
    for topic in TOPICS:
        draft = LlamaForCausalLM(config)
        draft.load_state_dict(general.state_dict())
        before = measure(general, [held_out[topic]], kept)
        plan_topic = DistilConfig(epochs=size.topic_epochs, learning_rate=7e-4)
        distil(draft, [answers[topic]], work / "drafts" / topic, plan_topic, target)
        own = output_vocabulary([answers[topic]], size.coverage)
        _save_draft(draft, tokenizer, work / "ship" / "drafts" / topic, own)
        of_general = {"pooled_t0": before["alpha_t0"], "pooled_t1": before["alpha_t1"]}
        figures[topic] = {**measure(draft, [held_out[topic]], own), **of_general, "head": len(own)}
        logger.info("draft %s: %s", topic, {key: round(value, 3) for key, value in figures[topic].items()})
    return figures


def _save_draft(draft: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path, kept: list[int]) -> None:
    save_model(draft, tokenizer, folder)
    write_output_vocabulary(folder, kept)


def _ship(work: Path, figures: dict[str, dict[str, float]], target: Path, epochs: float, tokens: int) -> Path:
    ship = work / "ship"
    log = [json.loads(line) for line in (work / "target" / "log.jsonl").read_text().splitlines()]
    common = {"target": fingerprint(target), "tokenizer": tokenizer_fingerprint(target)}
    tags = {}
    for topic in (GENERAL, *TOPICS):
        alpha = {"alpha": f"{figures[topic]['alpha_t0']:.3f}", "alpha_t1": f"{figures[topic]['alpha_t1']:.3f}"}
        tags[topic] = {**common, "topic": topic, **alpha}
    write_manifest(ship, TOPICS, tags)
    model = LlamaForCausalLM.from_pretrained(target)
    draft = LlamaForCausalLM.from_pretrained(ship / "drafts" / "general")
    facts = {
        "parameters": model.num_parameters(),
        "draft_parameters": draft.num_parameters(),
        "layers": model.config.num_hidden_layers,
        "vocab_size": model.config.vocab_size,
        "epochs": epochs,
        "coverage": Size.coverage,
        "text_tokens": Size.text_tokens,
        "turns": TURNS,
        "tokens": tokens,
        "steps": log[-1]["step"],
        "note": f"last training loss {log[-1]['train']:.2f}",
        "losses": {topic: log[-1][topic] for topic in TOPICS},
    }
    write_card(ship, facts, figures)
    shutil.copy(Path(__file__).resolve().parents[2] / "LICENSE", ship / "LICENSE")
    return ship
