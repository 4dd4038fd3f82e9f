"""Engines that a server may be started with in a test, wrong on purpose."""

import decoding.model
import decoding.step_loop
from decoding.model import PlainGreedy
from decoding.native_model import NativeModel
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
    decoding.step_loop.verify_greedy = decoding.model.verify_greedy = gullible
    NativeModel.verify_greedy = PlainGreedy.verify_greedy  # type: ignore[method-assign, assignment]
    return build_engine(plan)
