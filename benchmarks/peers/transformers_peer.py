"""transformers: `generate`, plain, with an assistant model, and with prompt lookup."""

import copy
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.worker import Decoded, Job, serve


class TransformersPeer:
    """Target and assistant in float32; proposals of a fixed length, or as long as transformers has them by default."""

    def __init__(self, job: Job):
        torch.set_num_threads(job.threads)
        self._target, self._draft = (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            for folder in (job.target, job.draft)
        )
        self._runs = 0
        self._target.register_forward_hook(self._count)
        self._defaults = self._draft.generation_config
        self._fixed = copy.deepcopy(self._defaults)
        self._fixed.num_assistant_tokens_schedule = "constant"
        self._fixed.assistant_confidence_threshold = 0.0

    @torch.inference_mode()
    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int | None, copies: bool) -> Decoded:
        """See `Engine.decode`."""
        ids = torch.tensor([prompt])
        assistant: dict[str, Any] = {"assistant_model": self._draft}
        if num_draft_tokens is None:
            self._draft.generation_config = copy.deepcopy(self._defaults)  # a schedule begins anew with each answer
        elif num_draft_tokens == 0 or copies:
            assistant = {"prompt_lookup_num_tokens": num_draft_tokens} if copies else {}
        else:
            self._draft.generation_config = self._fixed
            self._fixed.num_assistant_tokens = num_draft_tokens
        self._runs = 0
        began = perf_counter()
        out = self._target.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, **assistant
        )
        seconds = perf_counter() - began
        return Decoded(out[0, len(prompt) :].tolist(), seconds, self._runs)

    def _count(self, *_: object) -> None:
        self._runs += 1


if __name__ == "__main__":
    serve(TransformersPeer)
