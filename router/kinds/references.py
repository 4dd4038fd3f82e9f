"""Routers to compare with; they know too much or nothing, and none of them can serve."""

import numpy as np

from router.costs import CostTable
from router.kinds.menu import Choices, Menu


def oracle(menu: Menu, table: CostTable) -> Choices:
    """The cheapest draft of each prompt in hindsight, int64 [n]."""
    return np.asarray(menu.costs(table).argmin(axis=1))


def topic_label(menu: Menu, table: CostTable) -> Choices:
    """The draft named after the group under which a prompt was collected: a perfect classifier of topic names."""
    return menu.of_groups(table.groups)


def always_general(menu: Menu, table: CostTable) -> Choices:
    """One draft for all: the general one."""
    return np.full(len(table), menu.fallback, dtype=np.int64)
