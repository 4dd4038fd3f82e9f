"""A drafter that is right with a chance that one sets, at the cost of a real draft."""

from collections.abc import Mapping, Sequence
from random import Random

from decoding.model import LanguageModel
from decoding.proposal import EMPTY, Proposal
from decoding.request import Request
from drafts.model_drafter import ModelDrafter


class ForcedDrafter(ModelDrafter):
    """Runs every forward of a real draft, then puts other tokens into its proposal: right ones with chance alpha.

    Right is the target's own greedy token, so that of the positions reached a share of alpha is accepted,
    each independently of the others.

    Args:
        alpha: chance that a token is right.
        answers: by request id, the target's greedy answer, as far as proposals will reach.
        seed: of the chances; they are the same for a request whatever it runs beside.
    """

    def __init__(self, model: LanguageModel, alpha: float, answers: Mapping[str, Sequence[int]], seed: int = 0):
        super().__init__(model)
        self._alpha, self._answers, self._seed = alpha, answers, seed
        self._chances: dict[str, Random] = {}

    def propose(self, requests: Sequence[Request], num_draft_tokens: Sequence[int]) -> list[Proposal]:
        proposals = super().propose(requests, num_draft_tokens)
        return [self._forced(request, len(proposal)) for request, proposal in zip(requests, proposals, strict=True)]

    def release(self, request_id: str) -> None:
        super().release(request_id)
        self._chances.pop(request_id, None)

    def _forced(self, request: Request, length: int) -> Proposal:
        if not length:
            return EMPTY
        name = request.request_id
        chance = self._chances.setdefault(name, Random(f"{self._seed} {self._alpha} {name}"))
        said = len(request.token_ids) - len(request.prompt_token_ids)
        right = self._answers[name][said : said + length]
        assert len(right) == length, "the answer is too short"
        vocab_size = self.model.config.vocab_size
        return Proposal.chain([token if chance.random() < self._alpha else (token + 1) % vocab_size for token in right])
