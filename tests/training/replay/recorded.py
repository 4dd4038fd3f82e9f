"""Traces of answers that a target gave without any draft, as the step loop would have recorded them."""

import torch

from decoding.laws import laws
from decoding.processors import Block
from decoding.randomness import SeededRandomness
from decoding.request import FinishReason, Origin, Request, SamplingParams
from decoding.span import Span
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace


def answered(target, prompt, sampling, name="0", **options):
    """A request decoded to its end; ``options`` are drafters, and further fields of the request."""
    drafters = options.pop("drafters", {})
    request = Request(name, list(prompt), sampling, SeededRandomness(sampling.seed), **options)
    StepLoop(target, drafters).run([request])
    return request


def recorded(target, request, topic="sql", fingerprint="f"):
    """The trace of a finished request, from one teacher-forced forward of the target."""
    prompt_length, answer = len(request.prompt_token_ids), request.generated
    slot = target.cache.allocate()
    logits = target.forward([Span(slot, request.token_ids[:-1], logits_from=prompt_length - 1)]).clone()
    target.cache.release(slot)
    before = Request("", request.prompt_token_ids, request.sampling, SeededRandomness(0))
    nodes = range(-1, len(answer) - 1)
    (law,) = laws(logits, [Block(before, answer[:-1], range(-1, len(answer) - 2), nodes)])
    emitted = torch.tensor(answer)[:, None]
    own = logits.softmax(dim=-1)
    drawn = torch.ones(len(answer)) if isinstance(law, list) else law.gather(-1, emitted)[:, 0].float()
    top = own.topk(3, dim=-1)
    stopped = answer[-1] in request.sampling.stop_token_ids
    return SpeculationTrace(
        token_ids=list(request.token_ids),
        prompt_length=prompt_length,
        origins=[Origin.PLAIN] * len(answer),
        run_lengths=[1] * len(answer),
        probs=own.gather(-1, emitted)[:, 0].float(),
        drawn_probs=drawn,
        top_ids=top.indices.int(),
        top_probs=top.values.half(),
        sampling=request.sampling,
        finish_reason=FinishReason.STOP if stopped else FinishReason.LENGTH,
        topic=topic,
        draft=None,
        target=fingerprint,
    )


def trace_of(target, prompt, sampling, name="0", **options):
    """Answer and record."""
    return recorded(target, answered(target, prompt, sampling, name), **options)


def params(seed=0, **settings):
    return SamplingParams(**{"max_tokens": 20, "seed": seed, **settings})
