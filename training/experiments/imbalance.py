"""What a draft of its own is worth to a topic that the pooled draft has seen little of, or not at all."""

from training.experiments.arms import POOLED_RATE, TOPIC_RATE, Arm
from training.experiments.budget import Budget
from training.experiments.comparison import Comparison
from training.experiments.shapes import SHIPPED

SHARES = {"math": 80, "python": 15, "sql": 5}  # percent of the pooled mix
LATE = "medical"  # arrives when the pooled draft is trained
CONTROL, SPECIALISED = "pooled, as many steps more", "specialised"


def imbalance(budget: Budget) -> Comparison:
    """Three topics at 80, 15 and 5 percent of the texts; all that there is of a topic goes to its own draft."""
    mix = tuple((topic, share / max(SHARES.values())) for topic, share in SHARES.items())

    def arms(topic: str, seed: int) -> dict[str, Arm]:
        start = Arm(SHIPPED, mix, budget.pooled_epochs, POOLED_RATE, seed)
        own = tuple((name, share) for name, share in mix if name == topic)
        return {
            "pooled": start,
            CONTROL: Arm(SHIPPED, mix, budget.topic_epochs, TOPIC_RATE, seed, start=start),
            SPECIALISED: Arm(SHIPPED, own, budget.topic_epochs, TOPIC_RATE, seed, start=start),
        }

    return Comparison(arms, CONTROL, tuple(SHARES))


def late(budget: Budget) -> Comparison:
    """A topic that arrives late: a draft of its own, or the pooled draft trained on with it in the mix."""
    early = tuple((topic, None) for topic in SHARES)

    def arms(topic: str, seed: int) -> dict[str, Arm]:
        start = Arm(SHIPPED, early, budget.pooled_epochs, POOLED_RATE, seed)
        mixed = (*early, (topic, None))
        return {
            "pooled, without the topic": start,
            CONTROL: Arm(SHIPPED, mixed, budget.topic_epochs, TOPIC_RATE, seed, start=start),
            SPECIALISED: Arm(SHIPPED, ((topic, None),), budget.topic_epochs, TOPIC_RATE, seed, start=start),
        }

    return Comparison(arms, CONTROL, (LATE,))
