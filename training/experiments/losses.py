"""Which loss makes the draft that is accepted most, at temperature 0 and at 1."""

from training.experiments.arms import TOPIC_RATE, Arm
from training.experiments.budget import Budget
from training.experiments.comparison import Comparison
from training.experiments.shapes import SHIPPED
from training.experiments.specialise import pooled

CONTROL = "forward_kl"
PURE = ("forward_kl", "reverse_kl", "jsd", "tvd", "lk", "argmax")
GREEDY_SHARE = 0.2  # of cross-entropy with the most probable token, as the starter has it


def losses(budget: Budget) -> Comparison:
    """The general draft, trained on by a topic's answers under each loss, and under the starter's mixture."""

    def arms(topic: str, seed: int) -> dict[str, Arm]:
        def of(loss: str, argmax_weight: float) -> Arm:
            start = pooled(SHIPPED, budget, seed)
            own = ((topic, None),)
            return Arm(
                SHIPPED,
                own,
                budget.topic_epochs,
                TOPIC_RATE,
                seed,
                start=start,
                loss=loss,
                argmax_weight=argmax_weight,
            )

        return {**{loss: of(loss, 0.0) for loss in PURE}, "lk + 0.2 argmax": of("lk", GREEDY_SHARE)}

    return Comparison(arms, CONTROL)
