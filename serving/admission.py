"""From a checked request body to a job: model, draft and length checks, tokenisation, sampling settings."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import blake2b

from configs.errors import RequestError
from decoding.request import SamplingParams
from drafts.pool import AND, LOOKUP
from serving.errors import PromptTooLongError, UnknownModelError
from serving.schema import ChatRequest, CompletionRequest, GenerationRequest
from serving.text import TextCodec
from serving.wire import AUTO, NONE, Job

_SEED_BITS = 63


@dataclass(frozen=True, slots=True)
class Limits:
    """What this deployment serves."""

    model_name: str
    max_length: int  # prompt and answer together
    max_tokens: int  # answer, when the request leaves it open
    vocab_size: int
    draft_names: tuple[str, ...]  # what a request may ask for beside auto and none
    stop_token_ids: frozenset[int]


class Admission:
    """Turns requests into jobs.

    Args:
        added: drafts that have come since the start.

    Raises (both methods):
        RequestError: or one of its kin in `serving.errors`, naming the parameter at fault.
    """

    def __init__(self, codec: TextCodec, limits: Limits, added: Callable[[], Sequence[str]] = lambda: ()):
        self._codec, self._limits, self._added = codec, limits, added

    def chat(self, request: ChatRequest, request_id: str) -> Job:
        """A conversation; the router reads the user's last turn."""
        self._check_model(request)
        turns = [(message.role, message.text) for message in request.messages]
        self._check_characters(sum(len(text) for _, text in turns), "messages")
        query = next((text for role, text in reversed(turns) if role == "user"), turns[-1][1])
        return self._job(request, request_id, self._codec.encode_chat(turns), query, "messages")

    def completion(self, request: CompletionRequest, request_id: str) -> Job:
        """A plain prompt, as text or as token ids."""
        self._check_model(request)
        prompt = request.prompt
        if isinstance(prompt, str):
            self._check_characters(len(prompt), "prompt")
            return self._job(request, request_id, self._codec.encode(prompt), prompt, "prompt")
        self._check_length(len(prompt), "prompt")
        wrong = next((token_id for token_id in prompt if not 0 <= token_id < self._limits.vocab_size), None)
        if wrong is not None:
            raise RequestError(f"prompt: {wrong} is no token of this model", param="prompt")
        return self._job(request, request_id, prompt, self._codec.decode(prompt), "prompt")

    def _job(
        self, request: GenerationRequest, request_id: str, token_ids: Sequence[int], query: str, param: str
    ) -> Job:
        if not token_ids:
            raise RequestError(f"{param} is empty", param=param)
        self._check_length(len(token_ids), param)
        room = self._limits.max_length - len(token_ids)
        return Job(
            request_id,
            list(token_ids),
            query,
            self._sampling(request, min(request.wanted_tokens or self._limits.max_tokens, room)),
            self._draft(request.draft),
            request.num_draft_tokens,
            may_trace=request.polydraft is None or request.polydraft.trace is not False,
        )

    def _sampling(self, request: GenerationRequest, max_tokens: int) -> SamplingParams:
        seed = secrets.randbits(_SEED_BITS) if request.seed is None else request.seed % (1 << _SEED_BITS)
        unknown = next((token_id for token_id, _ in request.biases if token_id >= self._limits.vocab_size), None)
        if unknown is not None:
            raise RequestError(f"logit_bias: {unknown} is no token of this model", param="logit_bias")
        return SamplingParams(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_k=max(0, request.top_k or 0),
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=seed,
            max_tokens=max_tokens,
            stop_token_ids=frozenset() if request.ignore_eos else self._limits.stop_token_ids,
            min_p=request.min_p or 0.0,
            repetition_penalty=1.0 if request.repetition_penalty is None else request.repetition_penalty,
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            logit_bias=request.biases,
            num_logprobs=request.num_logprobs,
            lossy=request.lossy.rule_settings if request.lossy is not None else None,
        )

    def _draft(self, name: str | None) -> str:
        drafts = (*self._limits.draft_names, *self._added())
        known = (AUTO, NONE, *drafts)
        if name is None or name in known:
            return name or AUTO
        parts = name.split(AND)
        if len(set(parts)) == len(parts) and set(parts) <= set(drafts) - {LOOKUP}:
            return name
        nearest = get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"one of {', '.join(known)}"
        raise RequestError(f"draft {name} is not served here; {hint}", param="draft")

    def _check_model(self, request: GenerationRequest) -> None:
        if request.model != self._limits.model_name:
            served = self._limits.model_name
            raise UnknownModelError(f"model {request.model!r} is not served here; use {served!r}", param="model")

    def _check_characters(self, characters: int, param: str) -> None:
        if characters > self._limits.max_length * self._codec.longest_token:
            raise PromptTooLongError(
                f"{param}: {characters} characters cannot fit into {self._limits.max_length} tokens", param=param
            )

    def _check_length(self, tokens: int, param: str) -> None:
        if tokens >= self._limits.max_length:
            raise PromptTooLongError(
                f"{param}: {tokens} tokens leave no room for an answer; prompt and answer together "
                f"hold {self._limits.max_length} tokens here",
                param=param,
            )


def choices(job: Job, count: int) -> list[Job]:
    """The jobs of ``count`` independent answers to one request.

    The first is ``job`` itself. Answer i after it draws from a seed of its own, the first 63 bits of
    blake2b("SEED/i"), so that a seed repeats all answers, and asking for more of them leaves the others as they are.
    """
    others = [
        replace(
            job, request_id=f"{job.request_id}-{number}", sampling=replace(job.sampling, seed=_seed_of(job, number))
        )
        for number in range(1, count)
    ]
    return [job, *others]


def _seed_of(job: Job, number: int) -> int:
    digest = blake2b(f"{job.sampling.seed}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> (64 - _SEED_BITS)
