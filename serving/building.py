"""From a plan to a running engine: everything is loaded, and lengths are priced by what this machine measures."""

import logging
from functools import partial

from decoding.checkpoint import read_config
from decoding.controller import LengthController
from decoding.cost_store import stored_or_measured
from decoding.device.loop import make_loop
from decoding.load import load_draft, load_model
from decoding.model import LanguageModel
from decoding.native.build import cache_folder
from decoding.native.memory import give_back
from drafts.model_drafter import ModelDrafter
from drafts.pool import GENERAL, LOOKUP, DraftPool
from drafts.stacks import DraftStacks
from router.encoder import load_encoder
from router.process import RouterProcess
from serving.auditing import Auditor
from serving.canaries import Canaries
from serving.engine import WITHOUT_DRAFTS, Engine
from serving.plan import Plan
from serving.traces import Tracing

logger = logging.getLogger(__name__)


def build_engine(plan: Plan) -> Engine:
    """Load everything that a plan names.

    Raises:
        PolydraftError: a checkpoint is damaged, or this machine cannot run it.
    """
    load = partial(load_draft, num_slots=plan.slots, max_length=plan.max_length, placement=plan.placement)
    target = load_model(plan.target, plan.slots, plan.max_length, placement=plan.placement)
    stacks = None
    if not plan.placement.is_cpu:
        known = [read_config(spec.folder) for spec in plan.drafts.values()]
        stacks = DraftStacks(known, plan.slots, plan.draft_memory_bytes)
    pool = DraftPool(plan.drafts, load, plan.prompt_lookup, plan.draft_memory_bytes, plan.expansion, stacks)
    router = None
    if plan.router is not None:
        encoder = partial(load_encoder, plan.embedding, plan.router_max_tokens)
        router = RouterProcess(plan.router, encoder, plan.min_confidence, plan.router_label, plan.router_cores)
    lengths = lengths_for(plan, target, pool)
    pool.preload()
    tracing = Tracing(plan.traces, pool.label) if plan.traces is not None else None
    recorder = tracing.recorder if tracing is not None else None
    loop = make_loop(target, pool, lengths, companion=LOOKUP if plan.prompt_lookup else None, recorder=recorder)
    costs = lengths.costs if isinstance(lengths, LengthController) else None
    reader = partial(load_draft, num_slots=1, max_length=plan.max_length, placement=plan.placement)
    canaries = Canaries(pool, plan.canary.rule, plan.canary.share, costs, reader)
    auditor = Auditor(target, plan.audit_share) if plan.audit_share else None
    give_back()
    return Engine(loop, pool, router, lengths, tracing, canaries, auditor)


def lengths_for(plan: Plan, target: LanguageModel, pool: DraftPool) -> int | LengthController:
    """The fixed proposal length of a plan, or a controller for what this machine's costs turn out to be."""
    if plan.num_draft_tokens is not None:
        return plan.num_draft_tokens
    name = pool.select(GENERAL) if GENERAL in plan.drafts else next(iter(plan.drafts), None)
    drafter = pool[pool.select(name) or LOOKUP] if name is not None else None
    if not isinstance(drafter, ModelDrafter):
        return WITHOUT_DRAFTS
    costs, milliseconds = stored_or_measured(target, drafter.model, cache_folder().parent / "costs")
    logger.info("target run %.2f ms, c %.3f, w(5) %.2f", milliseconds, costs.draft_step(1), costs.target_run(5))
    # No deeper than the trees that a deployment asks for; how deep, and whether at all, is a matter of cost.
    return LengthController(costs) if plan.expansion is None else LengthController(costs, plan.expansion.depth)
