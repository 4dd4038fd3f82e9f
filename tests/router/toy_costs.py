"""Made-up tables of costs: topics that are clusters of embeddings, and drafts that are good at one each."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from router.costs import CostTable, Prices

TOPICS = ("sql", "math", "chat")
DRAFTS = ("general", *TOPICS)
LONGEST = 4
PRICES = Prices(draft=(0.05,) * len(DRAFTS), width=(1.0, 1.05, 1.1, 1.15, 1.2))
ALPHAS = {"general": 0.55, "own": 0.8, "other": 0.2}


def runs_at(alpha: float, tokens: int) -> NDArray[np.float64]:
    """Target runs for ``tokens`` at proposals of 0 to `LONGEST` tokens, each accepted with chance ``alpha``."""
    return np.array([tokens / sum(alpha**depth for depth in range(length + 1)) for length in range(LONGEST + 1)])


def toy_costs(
    per_topic: int = 40,
    seed: int = 0,
    spread: float = 0.3,
    alphas: Mapping[tuple[str, str], float] | None = None,
    noise: float = 0.02,
) -> tuple[NDArray[np.float32], CostTable]:
    """Embeddings [n, 12] and costs of ``per_topic`` prompts a topic.

    Args:
        spread: of the embeddings about their topic's centre, which has length one.
        alphas: acceptance by (topic, draft), in place of `ALPHAS`.
        noise: standard deviation of a prompt's own acceptance.
    """
    generator = np.random.default_rng(seed)
    centres = np.eye(12)[: len(TOPICS)]
    rows, groups, runs, tokens = [], [], [], []
    for number, topic in enumerate(TOPICS):
        for _ in range(per_topic):
            row = centres[number] + spread * generator.standard_normal(12) / np.sqrt(12)
            size = int(generator.integers(20, 60))
            rows.append(row / np.linalg.norm(row))
            groups.append(topic)
            tokens.append(size)
            usual = [ALPHAS.get(draft, ALPHAS["own" if draft == topic else "other"]) for draft in DRAFTS]
            means = [(alphas or {}).get((topic, draft), each) for draft, each in zip(DRAFTS, usual, strict=True)]
            chances = np.clip(np.array(means) + noise * generator.standard_normal(len(DRAFTS)), 0.01, 0.99)
            runs.append([runs_at(float(chance), size) for chance in chances])
    texts = tuple(f"{group} {seed} {number}" for number, group in enumerate(groups))
    versions = tuple(f"{draft}@v1" for draft in DRAFTS)
    table = CostTable(texts, tuple(groups), DRAFTS, versions, np.array(tokens), np.array(runs))
    return np.array(rows, dtype=np.float32), table
