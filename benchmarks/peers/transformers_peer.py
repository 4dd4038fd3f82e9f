"""transformers: `generate`, plain and with an assistant model."""

from time import perf_counter

import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.worker import Decoded, Job, serve


class TransformersPeer:
    """Target and assistant in float32, proposals of a fixed length."""

    def __init__(self, job: Job):
        torch.set_num_threads(job.threads)
        self._target, self._draft = (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            for folder in (job.target, job.draft)
        )
        self._runs = 0
        self._target.register_forward_hook(self._count)
        self._draft.generation_config.num_assistant_tokens_schedule = "constant"
        self._draft.generation_config.assistant_confidence_threshold = 0.0

    @torch.inference_mode()
    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int) -> Decoded:
        """See `Engine.decode`."""
        ids = torch.tensor([prompt])
        assistant = {"assistant_model": self._draft} if num_draft_tokens else {}
        self._draft.generation_config.num_assistant_tokens = num_draft_tokens
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
