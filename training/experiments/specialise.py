"""What a draft gains by specialising: against a pooled draft, and against one that was trained as long on the mix."""

from training.experiments.arms import POOLED_RATE, TOPIC_RATE, Arm
from training.experiments.budget import Budget
from training.experiments.comparison import Comparison
from training.experiments.shapes import QUARTER, SHIPPED, SIX_FOLD, SIXTEENTH, Shape
from training.starter.corpus import TOPICS

POOLED, CONTROL, LONG_CONTROL = "pooled", "pooled, as many steps more", "pooled, as long as all six"
SPECIALISED, SCRATCH, WRONG = "specialised", "from scratch", "wrong specialist"
WIDE = "pooled, six times as large"
ALL = tuple((topic, None) for topic in TOPICS)


def pooled(shape: Shape, budget: Budget, seed: int) -> Arm:
    """The general draft: over all topics' answers."""
    return Arm(shape, ALL, budget.pooled_epochs, POOLED_RATE, seed)


def control(shape: Shape, budget: Budget, seed: int, topic: str) -> Arm:
    """The general draft, trained on by as many steps as the topic's own draft, on the mix.

    Without it, more training would pass for specialising.
    """
    start = pooled(shape, budget, seed)
    return Arm(shape, ALL, budget.topic_epochs, TOPIC_RATE, seed, start=start, paced_by=topic)


def long_control(shape: Shape, budget: Budget, seed: int) -> Arm:
    """The general draft, trained on by as many steps as all specialised drafts together, on the mix."""
    return Arm(shape, ALL, budget.topic_epochs, TOPIC_RATE, seed, start=pooled(shape, budget, seed))


def specialised(shape: Shape, budget: Budget, seed: int, topic: str) -> Arm:
    """The general draft, trained on by one topic's answers."""
    return Arm(shape, ((topic, None),), budget.topic_epochs, TOPIC_RATE, seed, start=pooled(shape, budget, seed))


def from_scratch(shape: Shape, budget: Budget, seed: int, topic: str) -> Arm:
    """New weights that see only one topic, as often as the specialised draft has seen it."""
    epochs = budget.pooled_epochs + budget.topic_epochs
    return Arm(shape, ((topic, None),), epochs, POOLED_RATE, seed, from_scratch=True)


def specialise(budget: Budget) -> Comparison:
    """All drafts of the shipped shape."""

    def arms(topic: str, seed: int) -> dict[str, Arm]:
        return {
            POOLED: pooled(SHIPPED, budget, seed),
            CONTROL: control(SHIPPED, budget, seed, topic),
            LONG_CONTROL: long_control(SHIPPED, budget, seed),
            SPECIALISED: specialised(SHIPPED, budget, seed, topic),
            SCRATCH: from_scratch(SHIPPED, budget, seed, topic),
            WRONG: specialised(SHIPPED, budget, seed, wrong_topic(topic, seed)),
        }

    return Comparison(arms, CONTROL)


def width(budget: Budget) -> Comparison:
    """Six drafts, or one pooled draft as large as all of them, trained as long: the report charges it its step."""
    return Comparison(
        lambda topic, seed: {
            LONG_CONTROL: long_control(SHIPPED, budget, seed),
            SPECIALISED: specialised(SHIPPED, budget, seed, topic),
            WIDE: long_control(SIX_FOLD, budget, seed),
        },
        LONG_CONTROL,
    )


def capacity(budget: Budget) -> dict[str, Comparison]:
    """Controls and specialised drafts of the shipped size, a quarter and a sixteenth of it, by name of the size."""

    def of(shape: Shape) -> Comparison:
        return Comparison(
            lambda topic, seed: {
                CONTROL: control(shape, budget, seed, topic),
                LONG_CONTROL: long_control(shape, budget, seed),
                SPECIALISED: specialised(shape, budget, seed, topic),
            },
            CONTROL,
        )

    return {"1": of(SHIPPED), "1/4": of(QUARTER), "1/16": of(SIXTEENTH)}


def wrong_topic(topic: str, seed: int) -> str:
    """Another topic, a different one for neighbouring seeds."""
    others = [each for each in TOPICS if each != topic]
    return others[(TOPICS.index(topic) + seed) % len(others)]
