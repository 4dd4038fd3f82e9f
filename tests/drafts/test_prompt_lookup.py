"""Prompt lookup copies what followed the same words before."""

from hypothesis import given
from hypothesis import strategies as st

from decoding.request import SamplingParams
from drafts.prompt_lookup import PromptLookup
from tests.toys import make_request


def propose(token_ids, length=3, lookup=None):
    request = make_request(token_ids, SamplingParams(max_tokens=9))
    return (lookup or PromptLookup()).propose([request], [length])[0].token_ids


def test_the_longest_and_newest_match_wins():
    """Four matching tokens beat two, and of equal matches the newest is copied."""
    assert propose([1, 2, 3, 4, 9, 9, 3, 4, 7, 7, 1, 2, 3, 4], 2) == [9, 9]
    assert propose([5, 6, 1, 5, 6, 2, 5, 6], 1) == [2]


def test_nothing_is_proposed_without_a_match():
    """Text that never repeats two tokens gives an empty proposal, as does a length of 0."""
    assert propose([1, 2, 3, 4, 5]) == []
    assert propose([1, 2, 1, 2], 0) == []
    assert propose([1]) == []


def test_a_proposal_may_run_past_the_text_that_it_continues():
    """A period at the end of the text is proposed for as long as asked."""
    assert propose([1, 2, 1, 2, 1, 2], 5) == [1, 2, 1, 2, 1]
    assert propose([7, 7, 7], 4) == [7, 7, 7, 7]


def test_the_index_follows_the_answer():
    """Tokens that the answer added are found at the next step."""
    lookup, request = PromptLookup(), make_request([1, 2, 3], SamplingParams(max_tokens=9))
    assert lookup.propose([request], [3])[0].token_ids == []
    request.token_ids += [8, 1, 2]
    assert lookup.propose([request], [3])[0].token_ids == [3, 8, 1]
    lookup.release("r")
    assert lookup.propose([request], [3])[0].token_ids == [3, 8, 1]


def newest_of_the_longest(token_ids):
    """Where the text's last four, three or two tokens stood before, written down from the definition."""
    for size in (4, 3, 2):
        last = token_ids[-size:]
        for start in range(len(token_ids) - 1, size - 1, -1):
            if len(last) == size and token_ids[start - size : start] == last:
                return start
    return None


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=24))
def test_what_is_found_in_a_growing_text_is_what_the_definition_finds(parts):
    """A few tokens, so that places with two, three and four matches abound."""
    lookup, request = PromptLookup(), make_request(parts[0], SamplingParams(max_tokens=99))
    for added in ([], *parts[1:]):
        request.token_ids += added
        start = newest_of_the_longest(request.token_ids)
        assert lookup.behind(request) == (None if start is None else 0)
        assert lookup.propose([request], [1])[0].token_ids == ([] if start is None else [request.token_ids[start]])


def test_where_the_last_two_tokens_stand_everywhere_only_the_newest_places_are_looked_at():
    """A longer match far back is as good as none: a step must not read the whole text."""
    far, near = [9, 1, 2, 8], [token for n in range(300) for token in (100 + n, 1, 2, 7)]
    assert propose([*far, *near, 9, 1, 2], 1) == [7]
    assert propose([*far, *near[: 4 * 200], 9, 1, 2], 1) == [8]
