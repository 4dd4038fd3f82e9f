"""mlx-lm on the CPU: its generators of tokens, plain and speculative."""

from time import perf_counter

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step, speculative_generate_step

from benchmarks.peers.worker import Decoded, Job, serve


class MlxPeer:
    """Target and draft in float32; every decode starts with empty caches."""

    def __init__(self, job: Job):
        mx.set_default_device(mx.cpu)
        self._target, _ = load(job.target)
        self._draft, _ = load(job.draft)
        for model in (self._target, self._draft):
            model.set_dtype(mx.float32)

    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int | None, copies: bool) -> Decoded:
        """See `Engine.decode`."""
        assert not copies
        ids = mx.array(prompt)
        options = {"max_tokens": tokens}
        began = perf_counter()
        if num_draft_tokens:
            options["num_draft_tokens"] = num_draft_tokens
            steps = speculative_generate_step(ids, self._target, self._draft, **options)
            said = [(int(token), drafted) for token, _, drafted in steps]
        else:
            said = [(int(token), False) for token, _ in generate_step(ids, self._target, **options)]
        seconds = perf_counter() - began
        # Every target run adds exactly one token of its own.
        return Decoded([token for token, _ in said], seconds, sum(not drafted for _, drafted in said))


if __name__ == "__main__":
    serve(MlxPeer)
