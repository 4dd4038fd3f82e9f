"""Engines that a server may be started with in a test, wrong on purpose."""

import decoding.step_loop
from decoding.proposal import Proposal
from decoding.verification import VerificationResult
from serving.building import build_engine
from serving.engine import Engine
from serving.plan import Plan


def gullible(proposal: Proposal, best: list[int]) -> VerificationResult:
    """Accept whatever was proposed."""
    return VerificationResult(list(range(len(proposal))), best[len(proposal)])


def build_gullible(plan: Plan) -> Engine:
    """In the worker: greedy verification believes every draft."""
    decoding.step_loop.verify_greedy = gullible
    return build_engine(plan)
