"""Proposals from rejected requests: raised once, surely, and not by noise or repetition."""

import numpy as np
import pytest

from router.density import LEAST_REQUESTS
from router.proposal import Proposals, proposal_file
from tests.router.routers import FOREIGN, WORDS, toy_router
from tests.router.stub_encoder import StubEncoder
from tests.router.test_density import RADIUS, grouped, scattered, shuffled
from tests.toy_traces import make_trace
from training.topics import proposals
from training.topics.proposals import Rejected, characteristic_words, is_due, num_unrouted, propose, rejected_of
from training.topics.traffic import Traffic, traffic_of, write_traces


def rejected(rows, word: str = "query") -> Rejected:
    queries = tuple(f"{word} number {place}" for place in range(len(rows)))
    traces = tuple(make_trace(place, topic=None) for place in range(len(rows)))
    return Rejected(Traffic(traces, queries), rows, RADIUS, ())


def looked(rows, before: Proposals | None = None, topics=("sql",)):
    return propose(rejected(rows), before or Proposals(), None, "stub-1", topics)


class TestPropose:
    def test_a_dense_group_is_raised_with_its_figures(self):
        rows, truth = shuffled(grouped(120, 1), scattered(80, 2))
        raised, looks = looked(rows)
        assert looks == 1
        assert len(raised) == 1
        assert raised[0].requests == pytest.approx((truth == 0).sum(), abs=8)
        assert raised[0].rejected == 200
        assert raised[0].share > raised[0].base

    def test_two_groups_are_two_proposals_with_names_of_their_own(self):
        """Found by characteristic words; here all queries have the same, so the second is numbered."""
        first, second = grouped(100, 1, strength=0.55), grouped(100, 3, strength=0.55)[:, ::-1].copy()
        raised, _ = looked(shuffled(first, second, scattered(40, 2))[0], topics=("sql", "number", "query"))
        assert len(raised) == 2
        assert len({each.name for each in raised} | {"sql"}) == 3

    def test_what_is_known_is_not_raised_again_unless_it_was_accepted(self):
        """An accepted topic is the router's business: what it still rejects is dense anew."""
        rows, _ = shuffled(grouped(120, 1), scattered(80, 2))
        raised, looks = looked(rows)
        for state, again in (("open", 0), ("dismissed", 0), ("accepted", 1)):
            before = Proposals(tuple(raised), looks).settled(raised[0].name, state)
            assert len(looked(rows, before)[0]) == again, state

    def test_too_few_requests_are_not_looked_at(self):
        assert looked(grouped(LEAST_REQUESTS - 1, 1)) == ([], 0)

    def test_looking_again_and_again_at_scattered_requests_raises_nothing(self):
        """The negative control: five streams, each looked at every 40 requests up to 400."""
        for seed in range(5):
            rows, before = scattered(400, seed), Proposals()
            for size in range(80, 401, 40):
                raised, looks = looked(rows[:size], before)
                assert raised == [], (seed, size)
                before = Proposals((), looks)

    def test_later_looks_must_be_surer(self, monkeypatch):
        """The same p-value is enough at the first look and not at the tenth."""
        rows, _ = shuffled(grouped(120, 1), scattered(80, 2))
        p_value = looked(rows)[0][0].p_value
        monkeypatch.setattr(proposals, "LEVEL", 3 * p_value)
        assert len(looked(rows)[0]) == 1
        assert looked(rows, Proposals((), 9))[0] == []


class TestRejected:
    def rejected(self, texts, routed=()):
        router = toy_router()
        queries = dict(enumerate(texts))
        unrouted = traffic_of([make_trace(n, topic=None) for n in queries], lambda trace: queries[trace.token_ids[0]])
        known = Traffic(tuple(make_trace(n, topic="sql") for n, _ in enumerate(routed)), tuple(routed))
        return rejected_of(unrouted, known, router, StubEncoder())

    def test_only_what_the_router_rejects_now_counts(self):
        """A topic that it knows by now is no candidate, whatever it said when the answer was recorded."""
        found = self.rejected([FOREIGN, WORDS["sql"], "weather song alarm"])
        assert found.traffic.queries == (FOREIGN, "weather song alarm")

    def test_a_text_that_is_asked_a_hundred_times_counts_once(self):
        assert len(self.rejected([FOREIGN] * 100 + [FOREIGN.upper(), "weather alarm"])) == 2

    def test_nothing_at_all_is_nothing(self):
        assert len(self.rejected([])) == 0


def test_words_are_those_that_the_others_lack():
    own = [f"what are the symptoms of {name}" for name in "abcdefgh"]
    assert characteristic_words(own, ["what is the weather"] * 8) == ("symptoms",)


def test_a_look_is_due_after_enough_new_requests_without_a_topic(tmp_path):
    file = proposal_file(tmp_path, "toy")
    write_traces(tmp_path / "log", [make_trace(n, topic=None if n < 60 else "sql") for n in range(80)])
    assert num_unrouted(tmp_path / "log", "t") == 60
    assert is_due(tmp_path / "log", "t", file)
    file.write(Proposals(rejected=41))
    assert not is_due(tmp_path / "log", "t", file)
    assert not is_due(tmp_path / "log", "another", file)


def test_members_near_a_proposal_are_found_again_in_later_traffic():
    rows, _ = shuffled(grouped(120, 1), scattered(80, 2))
    raised, _ = looked(rows)
    later, truth = shuffled(grouped(50, 7), scattered(50, 8), seed=1)
    flags = rejected(later).flags(raised[0])
    assert flags[truth == 0].mean() > 0.9
    assert np.sum(flags[truth == 1]) <= 1
