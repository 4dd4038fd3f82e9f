"""What every experiment works on: the target's answers to train on, and recorded answers to score drafts by."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from decoding.checkpoint import fingerprint
from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import FinishReason, Origin, Request, SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace
from decoding.trace_segment import Segment, list_segments, segment_name
from decoding.trace_segment import encode as encode_traces
from training.experiments.budget import Budget
from training.starter.answers import TOP, Answers, choose_prompts, write_texts
from training.starter.batches import Sample, encode
from training.starter.corpus import TOPICS, read_split, read_topic

logger = logging.getLogger(__name__)

TEMPERATURES = (0.0, 1.0)
_SLOTS = 16
_TOP = 8  # of the target's law, kept for the record; scoring needs the emitted token's probability only

Traces = Mapping[str, Sequence[SpeculationTrace]]  # by topic


@dataclass(frozen=True)
class Material:
    """Data of one target, made once and kept in a work folder.

    Args:
        data: folder of JSON lines by topic, with splits.
        target: folder of the target that answers.
        work: everything made is kept here and found again.
    """

    data: Path
    target: Path
    work: Path
    budget: Budget

    @cached_property
    def fingerprint(self) -> str:
        """Of the target."""
        return fingerprint(self.target)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.target)
        return tokenizer

    @cached_property
    def corpus(self) -> list[Sample]:
        """The written responses of the training split: what a draft reads before it meets the target."""
        return encode(self.tokenizer, read_split(self.data, "train"), self.budget.max_length)

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """The target's answers to training prompts, by topic."""
        return {topic: self._answers(topic) for topic in TOPICS}

    @cached_property
    def held_out(self) -> dict[float, Traces]:
        """Answers to validation prompts, by the temperature that they were drawn at and by topic."""
        model = load_model(self.target, _SLOTS, self.budget.max_length + self.budget.answer_tokens)
        return {t: {topic: self._record(model, topic, t) for topic in TOPICS} for t in TEMPERATURES}

    def _answers(self, topic: str) -> Answers:
        prompts = self._prompts(topic, "train", sys.maxsize)
        folder = self.work / "answers" / topic
        answers = write_texts(
            folder, prompts, self._end, self.budget.answer_tokens, self.budget.text_tokens, self.target
        )
        logger.info("answers: %s, %d texts, %d tokens", topic, len(answers), len(answers.token_ids))
        return answers

    def unseen(self, topic: str, count: int) -> list[SpeculationTrace]:
        """Greedy answers to ``count`` further training prompts, or to all there are, for streams of requests.

        No draft of an experiment has seen one of them: their prompts are not among those of `answers`.
        """
        budget = self.budget.shift
        folder = self.work / "unseen" / topic / f"{count}x{budget.answer_tokens}-{self.fingerprint[:16]}"
        for _, path in list_segments(folder):
            segment = Segment(path)
            return [segment.trace(index) for index in range(len(segment.entries))]
        known = self.answers[topic]
        places = zip(known.starts.tolist(), known.answer_starts.tolist(), strict=False)
        seen = {tuple(known.token_ids[start:end].tolist()) for start, end in places}
        prompts = dict.fromkeys(map(tuple, self._prompts(topic, "train", sys.maxsize)))  # each once
        chosen = [list(prompt) for prompt in prompts if prompt not in seen][:count]
        model = load_model(self.target, _SLOTS, self.budget.max_length // 2 + budget.answer_tokens)
        traces = self._answered(model, chosen, topic, 0.0, budget.answer_tokens, TOP)
        data = encode_traces([(0.0, trace) for trace in traces])
        folder.mkdir(parents=True, exist_ok=True)
        (fresh := folder / "new").write_bytes(data)
        fresh.replace(folder / segment_name(0, data))
        return traces

    def more_held_out(self, topics: Sequence[str], most: int) -> list[SpeculationTrace]:
        """Greedy answers to up to ``most`` validation prompts of each topic, where those of `held_out` are too few."""
        model = load_model(self.target, _SLOTS, self.budget.max_length + self.budget.answer_tokens)
        return [trace for topic in topics for trace in self._record(model, topic, 0.0, most)]

    def _record(
        self, model: LanguageModel, topic: str, temperature: float, most: int | None = None
    ) -> list[SpeculationTrace]:
        prompts = self._prompts(topic, "validation", most or self.budget.held_out)
        return self._answered(model, prompts, topic, temperature, self.budget.answer_tokens, _TOP)

    def _answered(
        self,
        model: LanguageModel,
        prompts: Sequence[list[int]],
        topic: str,
        temperature: float,
        max_tokens: int,
        top: int,
    ) -> list[SpeculationTrace]:
        requests = [
            Request(
                request_id=str(number),
                prompt_token_ids=prompt,
                sampling=SamplingParams(
                    temperature=temperature, max_tokens=max_tokens, stop_token_ids=frozenset({self._end})
                ),
                randomness=SeededRandomness(7_000_003 + number),
            )
            for number, prompt in enumerate(prompts)
        ]
        StepLoop(model, {}).run(requests)
        return [record(model, request, topic, self.fingerprint, top) for request in requests]

    def _prompts(self, topic: str, split: str, count: int) -> list[list[int]]:
        texts = [f"<|user|>{example.prompt}<|assistant|>" for example in read_topic(self.data, topic, split)]
        prompts: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return choose_prompts(prompts, count, self.budget.max_length // 2, seed=1)

    @property
    def _end(self) -> int:
        end = self.tokenizer.eos_token_id
        assert isinstance(end, int)
        return end


def record(model: LanguageModel, request: Request, topic: str, target: str, top: int = _TOP) -> SpeculationTrace:
    """The trace of a request that was decoded plainly, from one forward of the target over its text.

    Args:
        top: most probable tokens of the target's law to keep at each position.
    """
    slot = model.cache.allocate()
    first = len(request.prompt_token_ids) - 1
    logits = model.forward([Span(slot, request.token_ids[:-1], logits_from=first)])
    model.cache.release(slot)
    law = logits.softmax(dim=-1)
    emitted = torch.tensor(request.generated)[:, None]
    probs = law.gather(-1, emitted)[:, 0]
    most_probable = law.topk(min(top, law.size(-1)), dim=-1)
    ended = request.generated[-1] in request.sampling.stop_token_ids
    return SpeculationTrace(
        token_ids=list(request.token_ids),
        prompt_length=len(request.prompt_token_ids),
        origins=[Origin.PLAIN] * len(request.generated),
        run_lengths=[1] * len(request.generated),
        probs=probs,
        drawn_probs=torch.ones_like(probs) if request.sampling.is_greedy else probs,
        top_ids=most_probable.indices.to(torch.int32),
        top_probs=most_probable.values.to(torch.float16),
        sampling=request.sampling,
        finish_reason=FinishReason.STOP if ended else FinishReason.LENGTH,
        topic=topic,
        draft=None,
        target=target,
    )
