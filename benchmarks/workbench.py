"""A deployment without its server: target, drafts and router in this process, one compute thread."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from configs.errors import ConfigError
from decoding.controller import LengthController
from decoding.costs import StepCosts, measure_costs
from decoding.device.loop import make_loop
from decoding.load import load_draft, load_model
from decoding.model import LanguageModel
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.turn import StepTimes
from drafts.model_drafter import ModelDrafter
from drafts.pool import GENERAL, LOOKUP, DraftPool
from router.encoder import load_encoder
from router.topic_router import TopicRouter
from serving.building import lengths_for
from serving.config import deployment_of
from serving.plan import Plan, make_plan


@dataclass
class Workbench:
    """What every measurement needs, loaded once.

    Attributes:
        times: of all steps that `decode` has run; a bench may put fresh ones in their place.
    """

    plan: Plan
    tokenizer: PreTrainedTokenizerBase
    target: LanguageModel
    pool: DraftPool
    router: TopicRouter | None
    lengths: int | LengthController
    times: StepTimes = field(default_factory=StepTimes)

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

    def draft_model(self, name: str) -> LanguageModel:
        """The language model of a draft."""
        drafter = self.pool[name] if self.pool.select(name) == name else None
        if not isinstance(drafter, ModelDrafter):
            raise ConfigError(f"this deployment has no {name} draft to measure", do=f"set drafts.{name}")
        return drafter.model

    def measure_costs(self) -> tuple[StepCosts, float]:
        """What steps cost now, with the general draft, and milliseconds of a target run over one row.

        Measured again for every bench, also where a controller has costs of its own: a prediction is only
        worth comparing with times of the same minutes.
        """
        return measure_costs(self.target, self.draft_model(GENERAL))

    def decode(self, requests: Sequence[Request]) -> float:
        """Decode requests together to their end; seconds."""
        companion = LOOKUP if self.plan.prompt_lookup else None
        loop = make_loop(self.target, self.pool, self.lengths, companion=companion)
        loop.times = self.times
        began = perf_counter()
        loop.run(requests)
        return perf_counter() - began


def open_workbench(config: Path | None, with_router: bool = True) -> Workbench:
    """Resolve and load a deployment (without a file, the starter), as its server would."""
    torch.set_num_threads(1)
    plan = make_plan(deployment_of(config))
    load = partial(load_draft, num_slots=plan.slots, max_length=plan.max_length, placement=plan.placement)
    router = None
    if with_router and plan.router is not None:
        router = TopicRouter.load(plan.router, load_encoder(plan.embedding, plan.router_max_tokens))
    target = load_model(plan.target, plan.slots, plan.max_length, placement=plan.placement)
    pool = DraftPool(plan.drafts, load, plan.prompt_lookup, plan.draft_memory_bytes, plan.expansion)
    lengths = lengths_for(plan, target, pool)
    pool.preload()
    return Workbench(
        plan=plan,
        tokenizer=AutoTokenizer.from_pretrained(plan.target),
        target=target,
        pool=pool,
        router=router,
        lengths=lengths,
    )


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    found: dict[str, object] = {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }
    return {**found, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else found


def versions() -> dict[str, str]:
    """Versions that matter to a figure."""
    return {"python": platform.python_version(), "torch": torch.__version__}
