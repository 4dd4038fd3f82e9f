"""What the first and the second pass over a topic's answers bring to a general draft that never met the target."""

from training.experiments.arms import POOLED_RATE, Arm
from training.experiments.budget import Budget
from training.experiments.comparison import Comparison
from training.experiments.shapes import SHIPPED, Shape

UNTUNED, LARGE_UNTUNED = "untuned", "untuned, seven times as large"
LARGE = Shape(704, 1536)  # about seven times the parameters of the shipped draft
PASSES = (1, 2)


def untuned(shape: Shape) -> Arm:
    """A draft that has only read the corpus."""
    return Arm(shape, (), 0, POOLED_RATE, 0)


def epochs(budget: Budget) -> Comparison:  # noqa: ARG001 (every experiment is made from a budget)
    """0, 1 and 2 passes, in the manner of Online Speculative Decoding, table 2."""

    def arms(topic: str, seed: int) -> dict[str, Arm]:
        own = ((topic, None),)
        found = {UNTUNED: untuned(SHIPPED)}
        for passes in PASSES:
            found[f"{passes} epoch{'s' if passes > 1 else ''}"] = Arm(SHIPPED, own, passes, POOLED_RATE, seed)
        return found

    return Comparison(arms, UNTUNED)


def size(budget: Budget) -> Comparison:
    """A small draft distilled on its topic beside an untuned one of seven times its size."""

    def arms(topic: str, seed: int) -> dict[str, Arm]:
        own = ((topic, None),)
        passes = budget.pooled_epochs + budget.topic_epochs
        return {
            LARGE_UNTUNED: untuned(LARGE),
            "small, distilled": Arm(SHIPPED, own, passes, POOLED_RATE, seed),
        }

    return Comparison(arms, LARGE_UNTUNED)
