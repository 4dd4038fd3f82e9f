"""Whether a candidate becomes champion: a paired test on replayed costs that may be looked at after every request."""

from training.gate.replayed import Contender, judge_replays
from training.gate.rule import GateRule
from training.gate.verdict import GateSequence, Outcome, Verdict, judge

__all__ = ["Contender", "GateRule", "GateSequence", "Outcome", "Verdict", "judge", "judge_replays"]
