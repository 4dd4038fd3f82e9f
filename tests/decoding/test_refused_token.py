import pytest

from decoding.emission import refused_token
from decoding.proposal import Proposal
from decoding.randomness import SeededRandomness
from decoding.request import Origin, SamplingParams
from tests.loops import loop_with
from tests.toys import ToyModel, make_request


def test_it_is_the_first_token_behind_the_accepted_path() -> None:
    """In a chain the next one; of a tree's siblings the first; none where the path was accepted whole."""
    chain, tree = Proposal.chain([5, 6, 7]), Proposal([5, 6, 7, 8], [-1, -1, 0, 0])
    assert [refused_token(chain, path) for path in ([], [0], [0, 1], [0, 1, 2])] == [5, 6, 7, None]
    assert [refused_token(tree, path) for path in ([], [0], [1])] == [5, 7, None]
    assert refused_token(Proposal(), []) is None


@pytest.mark.parametrize("drafter", ["model", "twin", "tree"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_request_that_is_observed_learns_what_was_refused(drafter: str, temperature: float) -> None:
    """Where the target corrected, something else than what it said at temperature 0; nowhere else."""
    target = ToyModel(8, seed=3)
    loop = loop_with(target, 8)
    sampling = SamplingParams(max_tokens=30, temperature=temperature, num_logprobs=0)
    request = make_request([1, 2], sampling, SeededRandomness(5), drafter=drafter, num_draft_tokens=3)
    loop.admit(request)
    corrected = 0
    while loop.num_running or loop.num_waiting:
        for output in loop.step():
            is_corrected = output.origins[-1] is Origin.CORRECTED
            corrected += is_corrected
            if output.finish_reason is None:
                assert (output.refused is not None) == is_corrected
            if is_corrected and not temperature:
                assert output.refused != output.token_ids[-1]
    assert (corrected > 0) == (drafter != "twin")


def test_nobody_else_pays_for_it() -> None:
    """A request that is not observed is told nothing."""
    loop = loop_with(ToyModel(8, seed=3), 8)
    loop.admit(make_request([1, 2], SamplingParams(max_tokens=20), drafter="model", num_draft_tokens=3))
    outputs = []
    while loop.num_running or loop.num_waiting:
        outputs += loop.step()
    assert any(output.origins[-1] is Origin.CORRECTED for output in outputs)
    assert all(output.refused is None for output in outputs)
