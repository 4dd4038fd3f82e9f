"""The compiled choice is the controller's, bit for bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import KernelError
from decoding.controller import LengthController, Source
from decoding.costs import StepCosts
from decoding.native.build import load_kernel
from decoding.native.choice import NativeChoice

chances = st.lists(st.floats(0.05, 1.0), max_size=12).map(lambda each: [min(each[: n + 1]) for n in range(len(each))])
prices = st.floats(0.0, 1.5)


@st.composite
def source(draw):
    name, is_free = draw(st.sampled_from([("a", False), ("b", False), ("c", False), ("lookup", True)]))
    joint = draw(st.sampled_from([None, "stack"])) if not is_free else None
    return Source(name, draw(chances), is_free, draw(st.integers(0, 600)), joint=joint)


@st.composite
def costs(draw):
    """Flat stretches, slopes and stairs."""
    rows = {1: 1.0, **{n: draw(st.floats(0.9, 5.0)) for n in (2, 5, 6, 16, 17, 48)}}
    return StepCosts(rows, {1: draw(prices), 8: draw(prices)}, draw(st.floats(0.0, 0.01)))


@pytest.fixture(scope="module")
def kernel():
    try:
        return load_kernel()
    except KernelError:
        pytest.skip("no compiler")


def same(controller, kernel, options, rows, cached):
    """What both choose, told apart by the very source, not by its name."""
    both = (controller.choose, NativeChoice(controller, kernel).choose)
    first, second = ([(id(c.source), c.length) for c in choose(options, rows, len(options), cached)] for choose in both)
    assert first == second
    return sum(length for _, length in first)


requests = st.lists(st.lists(source(), max_size=3), min_size=1, max_size=9)


@given(costs(), requests, st.integers(0, 30), st.integers(0, 999))
def test_both_choose_the_same(kernel, found, options, more, cached):
    """Drafts of their own, shared ones, stacks, copies, drafts far behind, requests that have nobody."""
    same(LengthController(found), kernel, options, len(options) + more, cached)


def test_what_is_compared_are_not_just_empty_choices(kernel):
    costs = StepCosts({1: 1.0, 5: 1.2, 8: 1.4, 40: 6.0}, {1: 0.1, 8: 0.2})
    options = [[Source(f"{n}", [0.8, 0.7, 0.6]), Source("lookup", [0.9] * 6, is_free=True)] for n in range(4)]
    assert same(LengthController(costs), kernel, options, 4, 0) > 4


def test_trees_and_batches_that_there_is_no_room_for_are_left_to_the_original(kernel):
    controller = LengthController(StepCosts({1: 1.0, 40: 1.1}, {1: 0.05, 40: 0.1}))
    tree = Source("tree", [0.9, 0.8], nodes=(2, 4))
    assert same(controller, kernel, [[tree], [Source("a", [0.8])]], 2, 0)
    assert same(controller, kernel, [[Source("a", [0.9] * 6)] for _ in range(60)], 500, 0)
    assert same(controller, kernel, [[Source("a", [0.9] * 6)] for _ in range(90)], 90, 0)
    assert same(controller, kernel, [[Source(f"{n}", [0.9] * 6) for n in range(5)] for _ in range(30)], 30, 0)
    assert same(controller, kernel, [[Source("a", [0.9] * 13)]], 1, 0)


@pytest.mark.parametrize("equal", [0.5, 0.9])
def test_of_equal_chances_the_first_requests_come_first(kernel, equal):
    """Ties are broken alike."""
    controller = LengthController(StepCosts({1: 1.0, 12: 1.2, 13: 3.0}, {1: 0.01, 8: 0.01}))
    assert same(controller, kernel, [[Source("a", [equal] * 3)] for _ in range(5)], 5, 0)
