import itertools

from hypothesis import given
from hypothesis import strategies as st

from serving.stopping import StopMatcher

TEXTS = st.text(alphabet="abc", max_size=24)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=4)


def shown(matcher: StopMatcher, pieces: list[str]) -> str:
    text = ""
    for piece in pieces:
        text += matcher.feed(piece)
        if matcher.stopped:
            return text
    return text + matcher.flush()


class TestStopMatcher:
    def test_a_stop_string_across_pieces_is_found_and_not_shown(self) -> None:
        """The border between two tokens may lie anywhere in a stop string."""
        matcher = StopMatcher(["END"])
        assert [matcher.feed(piece) for piece in ("one E", "N", "D two")] == ["one ", "", ""]
        assert matcher.stopped

    def test_a_partial_match_that_fails_is_shown_late_but_whole(self) -> None:
        """What looked like the beginning of a stop string is text after all."""
        matcher = StopMatcher(["END"])
        assert [matcher.feed(piece) for piece in ("E", "N", "T")] == ["", "", "ENT"]

    def test_what_is_held_back_at_the_end_is_shown(self) -> None:
        """An answer may end in the middle of a stop string."""
        matcher = StopMatcher(["END"])
        assert matcher.feed("the EN") == "the "
        assert matcher.flush() == "EN"

    @given(text=TEXTS, stops=STOPS)
    def test_letter_by_letter_the_text_ends_where_the_first_stop_string_is_complete(
        self, text: str, stops: list[str]
    ) -> None:
        """The reference looks at every prefix of the text."""
        ends = [n for n in range(len(text) + 1) if any(stop in text[:n] for stop in stops)]
        first = text[: ends[0]] if ends else text
        expected = min((first.find(stop) for stop in stops if stop in first), default=len(first))
        assert shown(StopMatcher(stops), list(text)) == text[:expected]

    @given(text=TEXTS, stop=st.text(alphabet="abc", min_size=1, max_size=4), cuts=st.lists(st.integers(0, 24)))
    def test_one_stop_string_ends_the_text_however_it_is_cut(self, text: str, stop: str, cuts: list[int]) -> None:
        """How the model splits its words must not matter."""
        borders = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
        pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
        assert shown(StopMatcher([stop]), pieces) == text.partition(stop)[0]
