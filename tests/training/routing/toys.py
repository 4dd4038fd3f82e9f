"""Prompts that a stub encoder tells apart, and routers trained on them."""

import random

from router.prompts import FOREIGN
from tests.router.routers import FOREIGN as FOREIGN_WORDS
from tests.router.routers import WORDS
from training.routing.prompts import Labelled

GROUPS = {**WORDS, FOREIGN: FOREIGN_WORDS}


def sentences(words: str, count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words.split(), k=5)) for _ in range(count)]


def records(count: int = 300, seed: int = 0, noise: int = 0) -> list[Labelled]:
    """Prompts of three topics and of none; ``noise`` words of each are of another group."""
    draw, found = random.Random(seed), []
    for group, words in GROUPS.items():
        others = " ".join(text for name, text in GROUPS.items() if name != group)
        for text in sentences(words, count, seed):
            foreign = draw.choices(others.split(), k=noise)
            found.append(Labelled(" ".join([*text.split()[: 5 - noise], *foreign, str(draw.random())]), group))
    return found


def poisoned(given: list[Labelled], share: float, seed: int = 0) -> list[Labelled]:
    """The same prompts, a share of them under the name of another group."""
    draw, names = random.Random(seed), list(GROUPS)
    return [
        Labelled(each.text, draw.choice([name for name in names if name != each.group]), each.is_held_out)
        if draw.random() < share
        else each
        for each in given
    ]


def swapped(given: list[Labelled], one: str, other: str) -> list[Labelled]:
    """The same prompts, two topics under each other's name."""
    names = {one: other, other: one}
    return [Labelled(each.text, names.get(each.group, each.group), each.is_held_out) for each in given]
