"""llama.cpp through xllamacpp: a server for every way of decoding, asked over loopback."""

import json
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import xllamacpp

from benchmarks.peers.gguf_file import write_gguf
from benchmarks.peers.worker import Decoded, Job, serve

_NGRAM = 3  # tokens that must have stood in the text before


class LlamaCppPeer:
    """Servers with weights and cache in float32. Seconds are llama.cpp's own, so that HTTP does not count."""

    def __init__(self, job: Job):
        work = Path(job.work)
        target, draft = (
            write_gguf(Path(folder), work / f"{name}.gguf")
            for folder, name in ((job.target, "target"), (job.draft, "draft"))
        )
        ways = [(0, False), *((length, copies) for length in job.lengths for copies in (False, True))]
        self._servers = {way: _server(job, target, draft, *way) for way in ways}
        self._connections = {
            way: HTTPConnection(urlsplit(server.listening_address).netloc) for way, server in self._servers.items()
        }

    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int | None, copies: bool) -> Decoded:
        """See `Engine.decode`."""
        assert num_draft_tokens is not None
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0,
            "return_tokens": True,
            "cache_prompt": False,
        }
        connection = self._connections[num_draft_tokens, copies]
        connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        reply = json.load(connection.getresponse())
        connection.close()  # its server drops idle ones
        timings = reply["timings"]
        seconds = (timings["prompt_ms"] + timings["predicted_ms"]) / 1e3
        return Decoded(reply["tokens"], seconds, timings["predicted_n"] - timings.get("draft_n_accepted", 0))


def _server(job: Job, target: Path, draft: Path, length: int, copies: bool) -> xllamacpp.Server:
    exact = xllamacpp.ggml_type.GGML_TYPE_F32
    params = xllamacpp.CommonParams()
    params.model.path = str(target)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = job.max_length, 1, 0
    params.fit_params, params.verbosity, params.n_threads_http, params.cache_ram_mib = False, -1, 1, 0
    params.cache_type_k = params.cache_type_v = exact
    pools = [params.cpuparams, params.cpuparams_batch]
    kinds = xllamacpp.common_speculative_type
    if copies:
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_n, params.speculative.ngram_simple.size_m = _NGRAM, length
        params.speculative.ngram_simple.min_hits = 1
    elif length:
        speculative = params.speculative
        speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        speculative.draft.mparams.path = str(draft)
        speculative.draft.n_max, speculative.draft.n_min, speculative.draft.p_min = length, 0, 0.0
        speculative.draft.cache_type_k = speculative.draft.cache_type_v = exact
        pools += [speculative.draft.cpuparams, speculative.draft.cpuparams_batch]
    for pool in pools:
        pool.n_threads = job.threads
    return xllamacpp.Server(params)


if __name__ == "__main__":
    serve(LlamaCppPeer)
