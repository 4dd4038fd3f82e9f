"""What the draft of a new topic learns from: what was recorded, and what the target writes besides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer

from decoding.checkpoint import fingerprint, read_config
from decoding.trace import SpeculationTrace
from training.distillation.material import part_of_prompt
from training.labels.questions import PromptText
from training.topics.proposals import relabelled
from training.topics.synthetic import Encodes, Ids, on_topic, synthetic_prompts
from training.topics.traffic import Asking, Traffic


@dataclass(frozen=True)
class Teaching:
    """How the draft of a topic with little traffic is distilled: many passes, the best of many validations kept.

    Attributes:
        answers: where fewer were recorded, the target writes further ones to the same prompts,
        most_further: at most so many to each,
        temperature: drawn at this one; at 1 they stray too far from those that it gives.
        texts: where there are fewer even so, the target writes prompts, too, and answers them greedily.
    """

    steps: int = 960
    learning_rate: float = 2e-3
    validate_every: int = 20
    answers: int = 1200
    most_further: int = 3
    temperature: float = 0.7
    texts: int = 4000


@dataclass(frozen=True)
class Author:
    """The target, which writes what was not recorded; kept in ``work``, for a change that is killed."""

    target: Path
    encoder: Encodes
    work: Path
    teaching: Teaching
    say: Callable[[str], None] = lambda _: None

    def lesson(self, topic: str, recorded: Traffic) -> list[SpeculationTrace]:
        """Recorded answers, further ones to their prompts, and answers to prompts that the target wrote."""
        found = [*relabelled(recorded, topic), *self.further(topic, recorded)]
        return [*found, *self.synthetic(topic, recorded, self.teaching.texts - len(found))]

    def further(self, topic: str, recorded: Traffic) -> list[SpeculationTrace]:
        """What the target says to the recorded prompts when it is asked again."""
        how = self.teaching
        times = min(how.most_further, max(0, -(-how.answers // max(1, len(recorded))) - 1))
        prompts = [(topic, prompt) for prompt in _prompts(recorded)]
        found: list[SpeculationTrace] = []
        for turn in range(1, times + 1):
            self.say(f"{topic}: {len(prompts)} further answers of the target, {turn} of {times}")
            found += self._asking(recorded, how.temperature, turn).answers(prompts)
        return found

    def synthetic(self, topic: str, recorded: Traffic, count: int) -> list[SpeculationTrace]:
        """Greedy answers to ``count`` prompts that the target wrote, less those that are none of the topic.

        None of them is a prompt of the kind that the draft is judged by: its registered figures are of real traffic.
        """
        if count <= 0:
            return []
        self.say(f"{topic}: the target writes {count} prompts")
        written = synthetic_prompts(self.target, _prompts(recorded), count)
        text_of = PromptText(AutoTokenizer.from_pretrained(self.target))
        learned = [prompt for prompt in written if part_of_prompt(prompt) == "train"]
        kept = on_topic(learned, recorded.queries, text_of.of, self.encoder)
        self.say(f"{topic}: answers of the target to {len(kept)} prompts of its own")
        return self._asking(recorded, 0.0, 0).answers([(topic, prompt) for prompt in kept])

    def _asking(self, recorded: Traffic, temperature: float, seed: int) -> Asking:
        longest = max((len(trace.answer_ids) for trace in recorded.traces), default=1)
        end = next(iter(read_config(self.target).eos_token_ids), -1)
        return Asking(self.target, fingerprint(self.target), end, self.work / "further", longest, temperature, seed)


def _prompts(recorded: Traffic) -> list[Ids]:
    return [trace.token_ids[: trace.prompt_length] for trace in recorded.traces]
