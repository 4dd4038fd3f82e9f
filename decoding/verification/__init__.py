"""Verification rules: which proposed tokens stay, and which token of the target follows them.

How a proposal's tokens were picked (`decoding.proposal.Scheme`) decides which rule is exact:

===================  =====================================  =============================================
rule                 legal when                             source
===================  =====================================  =============================================
`verify_greedy`      temperature 0, any tree                argmax walk
`verify_match`       any tree chosen without looking at     "naive sampling", SpecInfer
                     the target's randomness                (Miao et al. 2023)
`verify_rejection`   a drawn chain                          Leviathan et al. 2023, alg. 1;
                                                            Chen et al. 2023, alg. 2
`verify_recursive`   a drawn tree, laws may differ, with    SpecInfer (Miao et al. 2023, alg. 2);
                     or without replacement                 MCSD (Yang et al. 2024, alg. 1)
`verify_kseq`        independent paths of one draft         SpecTr (Sun et al. 2023, alg. 2)
`verify_typical`     lossy: only if the request asks        Medusa (Cai et al. 2024)
`verify_lenient`     lossy: only if the request asks        Leviathan et al. 2023, app. A.5
===================  =====================================  =============================================

In every rule row 0 of the target belongs to the last committed token and row 1 + i to node i.
"""

from collections.abc import Sequence

from torch import Tensor

from decoding.lossy import Lossy
from decoding.proposal import Proposal, Scheme
from decoding.randomness import Randomness
from decoding.verification.kseq import verify_kseq
from decoding.verification.lossy import verify_lenient, verify_lossy, verify_typical
from decoding.verification.matching import verify_greedy, verify_match
from decoding.verification.recursive import verify_chains, verify_recursive, verify_rejection
from decoding.verification.result import VerificationResult

__all__ = [
    "VerificationResult",
    "verify",
    "verify_all",
    "verify_chains",
    "verify_greedy",
    "verify_kseq",
    "verify_lenient",
    "verify_lossy",
    "verify_match",
    "verify_recursive",
    "verify_rejection",
    "verify_typical",
]

_TREE_RULES = {
    Scheme.FIXED: verify_match,
    Scheme.INDEPENDENT: verify_recursive,
    Scheme.WITHOUT_REPLACEMENT: verify_recursive,
    Scheme.PATHS: verify_kseq,
}


def verify_all(
    proposals: Sequence[Proposal],
    laws: Sequence[list[int] | Tensor],
    sources: Sequence[Randomness],
    lossy: Sequence[Lossy | None],
) -> list[VerificationResult]:
    """Each proposal by its rule; what is the same for many requests is done for all of them at once.

    Args:
        laws: of each request `decoding.laws.Law`: argmax token ids [1 + nodes], or distributions
            [1 + nodes, vocab_size].
    """
    results: dict[int, VerificationResult] = {}
    chains: dict[int, Tensor] = {}
    for index, (proposal, law) in enumerate(zip(proposals, laws, strict=True)):
        if isinstance(law, list):
            results[index] = verify_greedy(proposal, law)
        elif not len(proposal) or (lossy[index] is None and _is_drawn_chain(proposal)):
            chains[index] = law
        else:
            results[index] = verify(proposal, law, sources[index], lossy[index])
    if chains:
        together = verify_chains([proposals[i] for i in chains], list(chains.values()), [sources[i] for i in chains])
        results.update(zip(chains, together, strict=True))
    return [results[index] for index in range(len(proposals))]


def verify(
    proposal: Proposal, target_probs: Tensor, randomness: Randomness, lossy: Lossy | None = None
) -> VerificationResult:
    """The exact rule for how the proposal was made, at a temperature above 0; or the lossy one that was asked for.

    Args:
        target_probs: [1 + nodes, vocab_size].
    """
    if lossy is not None:
        return verify_lossy(proposal, target_probs, randomness, lossy)
    if _is_drawn_chain(proposal):
        return verify_rejection(proposal, target_probs, randomness)
    return _TREE_RULES[proposal.scheme](proposal, target_probs, randomness)


def _is_drawn_chain(proposal: Proposal) -> bool:
    return proposal.scheme is not Scheme.FIXED and proposal.is_chain
