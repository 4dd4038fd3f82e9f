"""Which shape should a draft have on this machine? Latency measured, acceptance estimated by short trainings.

Throughput is tokens a target run over the time of a run: TAR(k) / (w(k + 1) + k c), in which a draft's depth
weighs more than its quality as a language model (Decoding Speculative Decoding, Yan et al. 2024; systems.md,
sheet 15). So shapes compete on that figure, and their loss is not looked at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers.utils import logging as transformers_logging

from configs.errors import ConfigError
from decoding.checkpoint import fingerprint, read_config
from decoding.costs import StepCosts, measure_costs
from decoding.load import load_draft, load_model
from training.distillation.export import export_draft
from training.distillation.material import Material, Writers, from_prompts, plain_text
from training.distillation.measure import Figures, measure
from training.distillation.pictures import BLUE, GREY, ORANGE, canvas
from training.distillation.presets import PRESETS, Stage
from training.distillation.progress import Bars
from training.distillation.prompts import Prompts, read_prompts
from training.distillation.sequences import Writing
from training.distillation.trainer import train
from training.distillation.vocabulary import output_vocabulary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEAD_DIM = 64
_CONTEXT = 128  # cached tokens behind which a step is timed
_MOST_ANSWERS = 400


@dataclass(frozen=True, order=True)
class Shape:
    """A Llama with ``layers`` layers, MLPs twice its width and one key-value head: what a step reads, it pays for."""

    layers: int
    width: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Read ``2x192``: layers by width.

        Raises:
            ConfigError: it is no such pair, or the width no multiple of 64.
        """
        layers, _, width = text.strip().partition("x")
        if not (layers.isdigit() and width.isdigit()) or int(layers) < 1 or int(width) % _HEAD_DIM or int(width) < 1:
            raise ConfigError(f"{text} is no shape", do=f"write layers x width, a multiple of {_HEAD_DIM}: 1x192")
        return cls(int(layers), int(width))

    def __str__(self) -> str:
        return f"{self.layers}x{self.width}"

    def config(self, target: Any) -> LlamaConfig:
        """Its architecture, with the vocabulary of ``target``, a transformers configuration."""
        return LlamaConfig(
            vocab_size=target.vocab_size,
            hidden_size=self.width,
            intermediate_size=2 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.width // _HEAD_DIM,
            num_key_value_heads=1,
            head_dim=_HEAD_DIM,
            max_position_embeddings=target.max_position_embeddings,
            tie_word_embeddings=True,
            bos_token_id=target.bos_token_id,
            eos_token_id=target.eos_token_id,
            pad_token_id=target.pad_token_id,
        )


@dataclass(frozen=True)
class Brief:
    """What to compare, on what."""

    target: Path
    data: Path
    topic: str
    work: Path
    shapes: Sequence[Shape]
    steps: int  # a stage
    limit: int = _MOST_ANSWERS
    max_length: int = 1024
    answer_tokens: int = 96


def design(brief: Brief) -> list[dict[str, Any]]:
    """A row a shape, by shape: size, c, alpha, and the best length with its tokens a run and predicted speed-up.

    Every shape gets the same stages and steps: pre-training on the data's text, then the target's answers.
    Resumable: answers and trainings that are in ``brief.work`` are not made again.

    Raises:
        PolydraftError: target or data cannot be used.
    """
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(brief.target)
    target_config = AutoConfig.from_pretrained(brief.target)
    with Bars() as bars:
        prompts, material = _material(brief, tokenizer, bars)
        kept = output_vocabulary(material.train.learnt, 0.995)
        found: dict[Shape, tuple[Path, Figures, int]] = {}
        for shape in sorted(set(brief.shapes)):
            student, figures = _trained(shape, brief, target_config, prompts, material, kept, bars)
            folder = export_draft(student, tokenizer, brief.work / str(shape) / "draft", kept)
            found[shape] = folder, figures, sum(parameter.numel() for parameter in student.parameters())
    costs, target_ms = _costs(brief, {shape: folder for shape, (folder, _, _) in found.items()})
    wide = _target_runs(list(costs.values()))
    return [
        _row(shape, size, figures, costs[shape].draft_step(1), wide, target_ms)
        for shape, (_, figures, size) in found.items()
    ]


def best_length(by_position: Sequence[float], c: float, wide: Callable[[int], float]) -> tuple[int, float, float]:
    """The length with the highest predicted speed-up, its tokens a target run, and that speed-up.

    Args:
        by_position: chance that the first, second, ... drafted token is accepted.
        c: a draft step, in target runs over one row.
        wide: a target run over so many rows, likewise.
    """
    choices = []
    tokens = 1.0
    for k, chance in enumerate(by_position, start=1):
        tokens += chance
        choices.append((tokens / (wide(k + 1) + k * c), k, tokens))
    speedup, k, tokens = max(choices)
    return k, tokens, speedup


def draw_frontier(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Predicted speed-up over the cost of a draft step; lines join shapes of one depth."""
    figure, axes = canvas()
    for colour, layers in zip((BLUE, ORANGE, GREY) * 9, sorted({row["layers"] for row in rows}), strict=False):
        mine = sorted((row for row in rows if row["layers"] == layers), key=lambda row: row["c"])
        name = f"{layers} layer{'s' if layers > 1 else ''}"
        axes.plot([row["c"] for row in mine], [row["speedup"] for row in mine], color=colour, marker="o", label=name)
        for row in mine:
            note = f"{row['width']}, k = {row['num_draft_tokens']}"
            axes.annotate(note, (row["c"], row["speedup"]), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel("c, a draft step in target runs")
    axes.set_ylabel("predicted speed-up")
    axes.legend(frameon=False)
    return figure


def _material(brief: Brief, tokenizer: Any, bars: Bars) -> tuple[Prompts, Material]:
    longest = max(1, min(brief.max_length // 2, brief.max_length - brief.answer_tokens))
    prompts = read_prompts(brief.data, brief.topic, tokenizer, longest, brief.limit)
    how = Writing(frozenset(read_config(brief.target).eos_token_ids), brief.answer_tokens)
    model = load_model(brief.target, num_slots=16, max_length=brief.max_length)
    writers = Writers(lambda: model, lambda: model)
    stamp = fingerprint(brief.target)
    return prompts, from_prompts(prompts, "teacher", how, writers, stamp, brief.work / "material", bars.show)


def _trained(
    shape: Shape, brief: Brief, target: Any, prompts: Prompts, material: Material, kept: list[int], bars: Bars
) -> tuple[Any, Figures]:
    """A short FastDraft of one shape, and its figures on validation text."""
    torch.manual_seed(1)
    student = AutoModelForCausalLM.from_config(shape.config(target), dtype=torch.float32)
    stages = PRESETS["fastdraft"].quick(brief.steps).stages
    has_text = any(prompt.response for prompt in prompts.train)
    for stage in (stages[0], stages[-1]) if has_text else stages[-1:]:
        examples = material.train if stage.material == "answers" else plain_text(prompts, topic_only=True)
        stamp = {"target": fingerprint(brief.target), "shape": str(shape), "examples": examples.digest()}
        place = brief.work / str(shape) / stage.name
        train(student, [examples], place, stage.plan, stamp, report=_told(bars, shape, stage))
    return student, measure(student, [material.validation], kept)


def _told(bars: Bars, shape: Shape, stage: Stage) -> Any:
    return lambda history, total: bars.steps(f"{shape} {stage.name}", history, total)


def _costs(brief: Brief, folders: dict[Shape, Path]) -> tuple[dict[Shape, StepCosts], float]:
    """Costs of every shape's steps, each measured beside the target, and milliseconds of a target run."""
    target = load_model(brief.target, num_slots=1, max_length=2 * _CONTEXT)
    costs, milliseconds = {}, []
    for shape, folder in folders.items():
        draft = load_draft(folder, num_slots=1, max_length=2 * _CONTEXT)
        costs[shape], one = measure_costs(target, draft, context=_CONTEXT)
        milliseconds.append(one)
    return costs, median(milliseconds)


def _target_runs(costs: Sequence[StepCosts]) -> Callable[[int], float]:
    """w(rows): the median of all measurements, for the target is the same each time."""
    return lambda rows: median(each.target_run(rows) for each in costs)


def _row(
    shape: Shape, size: int, figures: Figures, c: float, wide: Callable[[int], float], target_ms: float
) -> dict[str, Any]:
    k, tokens, speedup = best_length(figures.by_position_t0, c, wide)
    return {
        "shape": str(shape),
        "layers": shape.layers,
        "width": shape.width,
        "parameters": size,
        "draft_step_ms": c * target_ms,
        "target_run_ms": target_ms,
        "c": c,
        "alpha": figures.alpha_t0,
        "alpha_t1": figures.alpha_t1,
        "loss": figures.loss,
        "num_draft_tokens": k,
        "tokens_per_target_run": tokens,
        "speedup": speedup,
        "acceptance_by_position": list(figures.by_position_t0),
    }
