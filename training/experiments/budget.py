"""How much an experiment may spend: chosen so that all of them together fit into an afternoon on two cores."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Updates:
    """How a draft learns from the requests that it serves; as in `drafts.learning.LearningSection`."""

    every_requests: int = 100
    steps: int = 20
    learning_rate: float = 1e-3
    ema: float = 0.9
    heldout_share: float = 0.2


@dataclass(frozen=True)
class ShiftBudget:
    """Amounts for streams of requests.

    Attributes:
        requests: a stream.
        answer_tokens: of one answer, at most.
        window: requests behind one point of a curve.
        published: updates where every candidate serves; nothing is held out then.
        gated: updates where the gate stands between, so that they may be bold.
    """

    requests: int = 800
    answer_tokens: int = 96
    window: int = 50
    published: Updates = Updates()
    gated: Updates = Updates(steps=60, learning_rate=2e-3, ema=0.95, heldout_share=0.3)


@dataclass(frozen=True)
class Budget:
    """Amounts of data and training.

    Attributes:
        text_tokens: to train on, a topic: prompts and the target's answers to them.
        answer_tokens: of one answer, at most.
        held_out: recorded answers to score by, a topic and temperature.
        max_length: of a text in tokens; prompts fill half of it at most.
        base_epochs: passes of a new draft over the written corpus before it meets the target.
        pooled_epochs: then over all topics' answers.
        topic_epochs: then over those of one topic, or of all for the control.
        seeds: repetitions, with data orders and new weights of their own.
        shift: what streams take beyond that.
    """

    text_tokens: int = 400_000
    answer_tokens: int = 160
    held_out: int = 120
    max_length: int = 768
    base_epochs: float = 0.2
    pooled_epochs: float = 1.0
    topic_epochs: float = 2.5
    seeds: tuple[int, ...] = (1, 2, 3)
    shift: ShiftBudget = ShiftBudget()


FULL = Budget()
QUICK = Budget(
    text_tokens=1200,
    answer_tokens=32,
    held_out=8,
    max_length=192,
    base_epochs=0.001,
    pooled_epochs=1.0,
    topic_epochs=1.0,
    seeds=(1, 2),
    shift=ShiftBudget(48, 24, 4, published=Updates(10, 2), gated=Updates(10, 2)),
)
