"""OpenVINO GenAI: a pipeline without a draft, one with it, and one that copies, on exported checkpoints."""

import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import openvino
import openvino_genai

from benchmarks.peers.worker import Decoded, Job, serve

_CONFIDENCE, _NGRAM = 0.4, 3  # as its own samples have them


class OpenVinoPeer:
    """Pipelines with weights, arithmetic and cache in float32."""

    def __init__(self, job: Job):
        exact = {
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "INFERENCE_NUM_THREADS": job.threads,
        }
        target, draft = (_exported(Path(folder), Path(job.work) / name) for folder, name in _models(job))
        self._plain = openvino_genai.LLMPipeline(target, "CPU", **exact)
        assistant = openvino_genai.draft_model(draft, "CPU", **exact)
        self._speculative = openvino_genai.LLMPipeline(target, "CPU", draft_model=assistant, **exact)
        self._copying = openvino_genai.LLMPipeline(target, "CPU", prompt_lookup=True, **exact)

    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int | None, copies: bool) -> Decoded:
        """See `Engine.decode`."""
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.do_sample = tokens, False
        if num_draft_tokens:
            config.num_assistant_tokens = num_draft_tokens
        elif num_draft_tokens is None:
            config.assistant_confidence_threshold = _CONFIDENCE
        if copies:
            config.max_ngram_size = _NGRAM
        pipeline = self._plain if num_draft_tokens == 0 else self._copying if copies else self._speculative
        ids = openvino.Tensor(np.array([prompt], dtype=np.int64))
        began = perf_counter()
        result = pipeline.generate(ids, config)
        seconds = perf_counter() - began
        token_ids = list(result.tokens[0])
        runs = len(token_ids)
        if pipeline is self._speculative:
            runs = len(result.extended_perf_metrics.main_model_metrics.raw_metrics.m_durations)
        return Decoded(token_ids, seconds, None if copies else runs)


def _models(job: Job) -> tuple[tuple[str, str], tuple[str, str]]:
    return (job.target, "openvino-target"), (job.draft, "openvino-draft")


def _exported(folder: Path, out: Path) -> str:
    """The OpenVINO form of a checkpoint, in float32; made once."""
    if not out.is_dir():
        part = out.with_suffix(".part")
        command = [sys.executable, "-m", "optimum.commands.optimum_cli", "export", "openvino", "--model", str(folder)]
        subprocess.run(
            [*command, "--task", "text-generation-with-past", "--weight-format", "fp32", str(part)], check=True
        )
        part.replace(out)
    return str(out)


if __name__ == "__main__":
    serve(OpenVinoPeer)
