"""Which tokens a request has seen, as its penalties need them."""

from collections.abc import Sequence

import torch
from torch import Tensor


class SeenTokens:
    """Tokens of one prompt and their counts in its answer, brought up to date as the answer grows.

    Attributes:
        in_prompt: bool [vocab_size].
        in_answer: how often, [vocab_size]; drafted tokens are not committed, so they are not in here.
    """

    def __init__(self, prompt_token_ids: Sequence[int], vocab_size: int, like: Tensor):
        self.in_prompt = torch.zeros(vocab_size, dtype=torch.bool, device=like.device)
        self.in_prompt[torch.tensor(prompt_token_ids, device=like.device)] = True
        self.in_answer = torch.zeros(vocab_size, dtype=like.dtype, device=like.device)
        self._num_tokens = len(prompt_token_ids)

    def follow(self, token_ids: Sequence[int]) -> None:
        """``token_ids`` is prompt and answer so far; what is new since the last call is counted."""
        new = token_ids[self._num_tokens :]
        if new:
            index = torch.tensor(new, device=self.in_answer.device)
            self.in_answer.index_add_(0, index, torch.ones_like(index, dtype=self.in_answer.dtype))
            self._num_tokens = len(token_ids)
