"""`polydraft bench gpu`: does a GPU say what the CPU says, and how fast; many small findings of one run."""

import gc
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks.gpu_checks import check_answers, check_logits, check_replays, check_waits
from benchmarks.gpu_shapes import SHAPES
from benchmarks.gpu_speed import bandwidth, forced_speed, pass_rows, plain_speed
from benchmarks.gpu_stack_checks import check_stacks
from benchmarks.gpu_stacks import stacked_steps
from benchmarks.pictures import BLUE, GREY, INK, ORANGE, canvas
from benchmarks.results import Report, Row, command_line, shown, yes_no
from configs.errors import ConfigError
from decoding.device.placement import Placement, place
from decoding.device.rows import ROW_COUNTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {
    "section": lambda row: row["section"],
    "shape": lambda row: row["shape"],
    "what": lambda row: row["what"],
    "value": lambda row: shown(row.get("value"), "{:.4g}"),
    "predicted": lambda row: shown(row.get("predicted_speedup")),
    "over one draft": lambda row: shown(row.get("over_single_draft")),
    "good": lambda row: "-" if row.get("is_good") is None else yes_no(row["is_good"]),
}
SECTIONS = ("check", "pass", "plain", "stacks", "forced")


def run_gpu(
    shape: str,
    draft_shape: str,
    alphas: Sequence[float],
    tokens: int,
    repeats: int,
    sections: Sequence[str] = SECTIONS,
    placement: Placement | None = None,
) -> Report:
    """Everything that needs a GPU, in one call; a part that fails becomes a row and the others go on.

    Args:
        shape, draft_shape: of the models whose speed is measured, with random weights.
        tokens: timed a request.
        placement: where to run instead of on the first GPU.

    Raises:
        ConfigError: there is no GPU, or no such shape or section.
    """
    for name, known in ((shape, SHAPES), (draft_shape, SHAPES), *((section, SECTIONS) for section in sections)):
        if name not in known:
            raise ConfigError(f"{name!r} is not one of {', '.join(known)}")
    if placement is None:
        if not torch.cuda.is_available():
            raise ConfigError(f"polydraft bench gpu needs a CUDA GPU; torch {torch.__version__} sees none")
        placement = place("cuda")
    most = bandwidth(placement, repeats, 1 << 31 if placement.device.type == "cuda" else 1 << 20)
    parts = _parts(shape, draft_shape, alphas, tokens, repeats, placement, most)
    rows: list[Row] = []
    for section in sections:
        for part in parts[section]:
            rows += _attempted(section, part)
    return Report(
        name="gpu",
        command=command_line(
            "gpu",
            shape=shape,
            draft_shape=draft_shape,
            alphas=list(alphas),
            tokens=tokens,
            repeats=repeats,
            sections=list(sections),
        ),
        rows=rows,
        columns=COLUMNS,
        draw=draw_gpu,
        notes=[f"{_name(placement)}: a large copy moves {most / 1e9:.0f} GB/s. Passes follow 128 cached tokens."],
        facts={"gpu": _name(placement), "dtype": str(placement.dtype), "bytes_per_second": most},
    )


def _parts(
    shape: str,
    draft_shape: str,
    alphas: Sequence[float],
    tokens: int,
    repeats: int,
    placement: Placement,
    most: float,
) -> dict[str, list[Callable[[], list[Row]]]]:
    """What each section runs; ``most``: bytes a second."""
    counts = [count for count in ROW_COUNTS if shape != "tiny" or count <= 16]
    return {
        "check": [
            partial(check_logits, placement),
            partial(check_answers, placement, tokens),
            partial(check_replays, placement),
            partial(check_stacks, placement, tokens),
            partial(check_waits, placement),
        ],
        "pass": [
            partial(pass_rows, shape, placement, counts, repeats),
            partial(pass_rows, draft_shape, placement, counts[:4], repeats),
        ],
        "plain": [partial(plain_speed, shape, placement, most, tokens, repeats)],
        "stacks": [partial(stacked_steps, shape, draft_shape, placement, repeats)],
        "forced": [partial(forced_speed, shape, draft_shape, placement, alphas, tokens, repeats)],
    }


def draw_gpu(rows: Sequence[Row]) -> "Figure":
    """Milliseconds of a pass by rows, captured and eager; measured and predicted speed-up by alpha."""
    figure, (left, right) = canvas(2, width=11)
    passes = [row for row in rows if row["section"] == "pass" and "rows" in row]
    for shape in dict.fromkeys(row["shape"] for row in passes):
        for way, colour in (("captured", BLUE), ("eager", GREY)):
            own = [row for row in passes if row["shape"] == shape and row["way"] == way]
            left.plot(
                [row["rows"] for row in own], [row["value"] for row in own], "o-", color=colour, label=f"{shape} {way}"
            )
    left.set(xlabel="rows of a pass", ylabel="ms", xscale="log", yscale="log")
    forced = [row for row in rows if row["section"] == "forced" and "measured_over_predicted" in row]
    alphas = [row["forced_alpha"] for row in forced]
    right.plot(alphas, [row["value"] for row in forced], "o-", color=ORANGE, label="measured")
    right.plot(alphas, [row["predicted_speedup"] for row in forced], "o--", color=INK, label="predicted")
    right.set(xlabel="forced alpha", ylabel="speed-up over plain")
    for axes in (left, right):
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def _attempted(section: str, part: Callable[[], list[Row]]) -> list[Row]:
    """The part's rows, or one that says why there are none: a run on a lent machine is worth its other parts."""
    try:
        return part()
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        name = getattr(part, "func", part).__name__
        return [{"section": section, "shape": "", "what": f"{name} failed: {reason}"[:200], "is_good": False}]
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _name(placement: Placement) -> str:
    if placement.device.type != "cuda":
        return str(placement.device)
    return torch.cuda.get_device_name(placement.device)
