"""Random target and draft laws over short texts, trees drawn from them, and the exact law of what a rule emits."""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from decoding.proposal import Proposal, Scheme
from decoding.verification import VerificationResult
from drafts.growth import GrowingTree, draw_rows
from tests.toys import Scripted, exact_law

Text = tuple[int, ...]
Rule = Callable[[Proposal, Tensor, Scripted], VerificationResult]


class ToyLaws:
    """A law for every text: peaked, flat, or with tokens that cannot come."""

    def __init__(self, vocab_size: int, seed: int):
        self.vocab_size, self._seed = vocab_size, seed
        self._laws: dict[Text, Tensor] = {}

    def after(self, text: Text) -> Tensor:
        """[vocab_size], float64."""
        if text not in self._laws:
            rng = random.Random(f"{self._seed} {text}")
            weights = [rng.gammavariate(rng.choice((0.4, 1.0, 3.0)), 1) for _ in range(self.vocab_size)]
            for token_id in rng.sample(range(self.vocab_size), rng.choice((0, 0, 1, self.vocab_size - 2))):
                weights[token_id] = 0.0
            law = torch.tensor(weights, dtype=torch.float64)
            self._laws[text] = law / law.sum()
        return self._laws[text]

    def at(self, proposal: Proposal) -> Tensor:
        """[1 + nodes, vocab_size]: what verification is given."""
        texts: list[Text] = []
        for token_id, parent in zip(proposal.token_ids, proposal.parents, strict=True):
            texts.append((*(texts[parent] if parent >= 0 else ()), token_id))
        return torch.stack([self.after(text) for text in [(), *texts]])

    def texts(self, length: int) -> dict[Text, float]:
        """Probability of every text of ``length`` tokens."""
        return self.completed({(): 1.0}, length)

    def completed(self, law: dict[Text, float], length: int) -> dict[Text, float]:
        """``law`` of shorter texts, each continued by itself to ``length`` tokens."""
        done: dict[Text, float] = {}
        open_ends = list(law.items())
        while open_ends:
            text, mass = open_ends.pop()
            if len(text) == length:
                done[text] = done.get(text, 0.0) + mass
                continue
            open_ends += [((*text, x), mass * p) for x, p in enumerate(self.after(text).tolist()) if p > 0]
        return done


def path_to(tree: GrowingTree, node: int) -> Text:
    """Tokens from the root to ``node``; -1 has none."""
    tokens: list[int] = []
    while node >= 0:
        tokens.append(tree.token_ids[node])
        node = tree.parents[node]
    return tuple(reversed(tokens))


def grow(laws: ToyLaws, children: Sequence[int], scheme: Scheme, randomness: Scripted) -> Proposal:
    """A tree of the given shape, drawn as `TreeDrafter` draws."""
    tree = GrowingTree()
    for count in children:
        level = torch.stack([laws.after(path_to(tree, node)) for node in tree.frontier])
        counts = [count * (paths if scheme is Scheme.PATHS else 1) for paths in tree.num_paths]
        sources = [randomness] * len(counts)
        tree.add_level(draw_rows(level, counts, scheme is not Scheme.WITHOUT_REPLACEMENT, sources), level)
    return tree.proposal(scheme)


def emitted_law(target: ToyLaws, propose: Callable[[Scripted], Proposal], rule: Rule, length: int) -> dict[Text, float]:
    """Exact law of texts of ``length`` tokens: what the rule emits, cut or continued by the target."""

    def run(randomness: Scripted) -> Text:
        proposal = propose(randomness)
        result = rule(proposal, target.at(proposal), randomness)
        return (*(proposal.token_ids[node] for node in result.path), result.token_id)[:length]

    return target.completed(exact_law(run), length)


def acceptance(target: ToyLaws, propose: Callable[[Scripted], Proposal], rule: Rule) -> float:
    """Chance that the rule accepts a child of the root."""

    def run(randomness: Scripted) -> Text:
        proposal = propose(randomness)
        return (min(1, len(rule(proposal, target.at(proposal), randomness).path)),)

    return exact_law(run).get((1,), 0.0)
