"""The peer's side: one line in with the job, then a line in and a line out for every decode.

Runs in the environment of the peer, so it imports nothing but the standard library.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """What to load.

    Attributes:
        target, draft: Hugging Face folders.
        lengths: proposal lengths that will be asked for.
        max_length: prompt and answer together, in tokens.
        threads: compute threads.
        work: folder for converted checkpoints, the same for the same checkpoints.
    """

    target: str
    draft: str
    lengths: list[int]
    max_length: int
    threads: int
    work: str


@dataclass(frozen=True)
class Decoded:
    """A greedy answer, seconds from prompt to last token, and target runs where the engine tells them."""

    token_ids: list[int]
    seconds: float
    num_target_runs: int | None


class Engine(Protocol):
    """A peer with its models loaded."""

    def decode(self, prompt: list[int], tokens: int, num_draft_tokens: int | None, copies: bool) -> Decoded:
        """A greedy answer of at most ``tokens`` tokens to a prompt of token ids.

        Args:
            num_draft_tokens: length of proposals; 0 is plain decoding, None what the engine does by itself.
            copies: they come from the text, without a draft model.
        """
        ...


def serve(open_engine: Callable[[Job], Engine]) -> None:
    """Answer decodes until standard input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = open_engine(Job(**json.loads(sys.stdin.readline())))
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(asdict(engine.decode(**json.loads(line)))) + "\n")
        answers.flush()
