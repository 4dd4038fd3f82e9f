"""The shape of the trees that a draft model grows, and how it draws them."""

from dataclasses import dataclass

from decoding.proposal import Scheme

MOST_NODES = 64  # rows that one request may add to a target run


@dataclass(frozen=True, slots=True)
class Expansion:
    """Children of every node by depth (MCSD's k-config), such as (4, 2, 2); (4, 1, 1) with PATHS is four paths.

    The scheme is for requests that sample; greedy ones get the most probable children.

    Raises:
        ValueError: a shape that cannot be grown.
    """

    children: tuple[int, ...]
    scheme: Scheme = Scheme.WITHOUT_REPLACEMENT

    def __post_init__(self) -> None:
        if not self.children or min(self.children) < 1:
            raise ValueError(f"a tree is a list of children a node by depth, each 1 or more; not {list(self.children)}")
        if self.num_nodes(self.depth) > MOST_NODES:
            nodes = self.num_nodes(self.depth)
            raise ValueError(f"the tree {list(self.children)} has {nodes} nodes; at most {MOST_NODES} are verified")
        if self.scheme is Scheme.FIXED:
            raise ValueError("a scheme says how children are drawn: independent, without_replacement or paths")
        if self.scheme is Scheme.PATHS and max(self.children[1:], default=1) > 1:
            raise ValueError(f"paths do not branch: write [{self.children[0]}, 1, 1, ...], not {list(self.children)}")

    @property
    def depth(self) -> int:
        return len(self.children)

    def num_nodes(self, depth: int) -> int:
        """Most nodes of the first ``depth`` levels."""
        nodes, level = 0, 1
        for children in self.children[:depth]:
            level *= children
            nodes += level
        return nodes
