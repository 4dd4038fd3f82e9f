"""Who proposes inside a request."""

import numpy as np
import pytest

from router.hedge import HedgeRule, leader, leaders, log_prior

RULE = HedgeRule(rate=1.0, chunk=2, looks=2, candidates=2, lead=0.5, spread=0.1)


class TestPrior:
    def test_a_cheaper_draft_is_more_probable(self) -> None:
        """e times for every ``spread``."""
        prior = log_prior([0.7, 0.6, 0.9], RULE)

        assert prior.tolist() == pytest.approx([-1.0, 0.0, -np.inf])

    def test_drafts_that_were_never_predicted_are_no_candidates(self) -> None:
        """NaN is no cost; and somebody must have one."""
        assert log_prior([np.nan, 0.6, 0.6], RULE).tolist() == [-np.inf, 0.0, 0.0]
        with pytest.raises(ValueError, match="no draft"):
            log_prior([np.nan], RULE)


class TestLeader:
    def test_another_draft_takes_over_when_it_is_ahead_by_the_lead(self) -> None:
        """Not before."""
        prior = np.array([0.0, -1.0])

        assert leader(prior, np.array([1.5, 0.0]), 0, RULE) == 0
        assert leader(prior, np.array([1.6, 0.0]), 0, RULE) == 1
        assert leader(prior, np.array([1.6, 0.0]), 1, RULE) == 1

    def test_looks_are_at_chunks_and_end(self) -> None:
        """After two of them nobody is scored any more."""
        losses = np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0]])

        assert leaders(np.array([0.0, -3.0]), losses, RULE) == [0, 0, 0, 0, 1, 1, 1, 1]
        assert [RULE.num_looks(tokens) for tokens in (0, 1, 2, 3, 4, 9)] == [0, 0, 1, 1, 2, 2]

    def test_a_draft_that_is_no_candidate_never_leads(self) -> None:
        """However good it is."""
        losses = np.array([[1.0] * 6, [0.0] * 6])

        assert set(leaders(np.array([0.0, -np.inf]), losses, RULE)) == {0}

    def test_rules_that_cannot_be_followed_are_refused(self) -> None:
        """A chunk of no tokens, say."""
        with pytest.raises(ValueError, match="cannot be followed"):
            HedgeRule(chunk=0)
