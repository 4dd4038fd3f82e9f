"""A deployment without its server: target, drafts and router in this process, one compute thread."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from decoding.controller import LengthController
from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop, StepTimes
from drafts.pool import GENERAL, LOOKUP, DraftPool
from router.encoder import load_encoder
from router.topic_router import TopicRouter
from serving.config import deployment_of
from serving.engine import lengths_for
from serving.plan import Plan, make_plan


@dataclass
class Workbench:
    """What every measurement needs, loaded once."""

    plan: Plan
    tokenizer: PreTrainedTokenizerBase
    target: LanguageModel
    pool: DraftPool
    router: TopicRouter | None
    lengths: int | LengthController
    times: StepTimes

    def encode(self, text: str) -> list[int]:
        """Token ids of a question in the target's chat format."""
        messages = [{"role": "user", "content": text}]
        ids: list[int] = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return ids

    def routed(self, text: str) -> str | None:
        """The name of the drafter that the router picks for a question."""
        return self.pool.select(self.router.decide(text).draft if self.router is not None else GENERAL)

    def request(
        self,
        number: int,
        prompt: Sequence[int],
        drafter: str | None,
        sampling: SamplingParams,
        may_copy: bool = False,
    ) -> Request:
        """A request for `decode`; the drafter is loaded if need be.

        Args:
            may_copy: prompt lookup may propose in the drafter's place, as when serving decides.
        """
        name = self.pool.select(drafter) if drafter is not None else None
        randomness = SeededRandomness(sampling.seed)
        return Request(str(number), list(prompt), sampling, randomness, drafter=name, may_copy=may_copy)

    def decode(self, requests: Sequence[Request]) -> float:
        """Decode requests together to their end; seconds."""
        loop = StepLoop(self.target, self.pool, self.lengths, companion=LOOKUP if self.plan.prompt_lookup else None)
        loop.times = self.times
        began = perf_counter()
        loop.run(requests)
        return perf_counter() - began


def open_workbench(config: Path | None, with_router: bool = True) -> Workbench:
    """Resolve and load a deployment (without a file, the starter), as its server would."""
    torch.set_num_threads(1)
    plan = make_plan(deployment_of(config))
    load = partial(load_model, num_slots=plan.slots, max_length=plan.max_length)
    router = None
    if with_router and plan.router is not None:
        router = TopicRouter.load(plan.router, load_encoder(plan.embedding, plan.router_max_tokens))
    target = load(plan.target)
    pool = DraftPool(plan.drafts, load, plan.prompt_lookup, plan.draft_memory_bytes)
    return Workbench(
        plan=plan,
        tokenizer=AutoTokenizer.from_pretrained(plan.target),
        target=target,
        pool=pool,
        router=router,
        lengths=lengths_for(plan, target, pool),
        times=StepTimes(),
    )


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Versions that matter to a figure."""
    return {"python": platform.python_version(), "torch": torch.__version__}
