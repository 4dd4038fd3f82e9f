"""The soak notices what grows, what differs and what fails; and nothing else."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy.stats import linregress

from benchmarks.asking import Answer, Asked, Question
from benchmarks.processes import Series, Watcher, children, trend
from benchmarks.soak import Soaked, soak, soak_report, soak_row
from serving.client import running_server

MINUTES = [float(second) for second in range(0, 1200, 10)]
SECONDS = [2.0 * number for number in range(600)]
FACTS = {"swaps": 3, "learned": 1, "learner_seconds": 2.0, "audit": None}


def series(resident: Sequence[float], files: Sequence[int] | None = None) -> Series:
    return Series("model", MINUTES, list(resident), list(files or [9] * len(MINUTES)))


def walk(scatter: float, seed: int) -> list[float]:
    """Samples around 0 that resemble those before: an autoregression of order 1, coefficient 0.9."""
    draws, at = random.Random(seed), 0.0
    found = []
    for _ in SECONDS:
        at = 0.9 * at + draws.gauss(0, scatter * (1 - 0.9**2) ** 0.5)
        found.append(at)
    return found


class TestTrend:
    def test_what_settles_in_the_first_half_is_flat(self) -> None:
        """Caches fill, then stay; noise is no growth."""
        draws = random.Random(0)
        values = [500 + min(200.0, second) + draws.gauss(0, 2) for second in MINUTES]
        assert soak_row(series(values))["flat"]
        assert abs(trend(MINUTES, values).slope) < 30

    def test_what_grows_all_the_time_is_not(self) -> None:
        """Negative control: 30 MiB an hour under noise, and a descriptor a minute."""
        draws = random.Random(0)
        leak = [500 + second / 120 + draws.gauss(0, 0.5) for second in MINUTES]
        found = trend(MINUTES, leak)
        assert found.slope == pytest.approx(30, rel=0.2)
        assert not soak_row(series(leak))["flat"]
        assert not soak_row(series([500.0] * len(MINUTES), [int(second / 60) for second in MINUTES]))["flat"]

    def test_slow_growth_within_the_scatter_of_the_samples_is_seen(self) -> None:
        """9 MiB an hour: one and a half in the half, where samples scatter by more; its slope is sure all the same."""
        draws = random.Random(0)
        values = [500 + second / 400 + draws.gauss(0, 1) for second in SECONDS]
        found = trend(SECONDS, values)
        assert found.growth < 2
        assert found.slope == pytest.approx(9, abs=3 * found.error)
        assert not found.is_noise
        assert not soak_row(Series("model", SECONDS, values, [9] * len(SECONDS)))["flat"]

    def test_noise_is_no_excuse_for_fast_growth(self) -> None:
        """60 MiB an hour cannot be told from nothing here, so nobody may say that it is flat."""
        values = [500 + second / 60 + wave for second, wave in zip(SECONDS, walk(8.0, seed=5), strict=True)]
        found = trend(SECONDS, values)
        assert found.is_noise
        assert found.slope > 30
        assert not soak_row(Series("model", SECONDS, values, [9] * len(SECONDS)))["flat"]

    def test_the_error_of_a_slope_allows_for_samples_that_resemble_each_other(self) -> None:
        """Of 400 series without a trend few are taken to grow; with samples taken for independent, a third is."""
        waves = [walk(2.0, seed) for seed in range(400)]
        grown = sum(not trend(SECONDS, wave).is_noise for wave in waves)
        naive = sum(linregress(SECONDS[300:], wave[300:], alternative="greater").pvalue < 0.025 for wave in waves)
        assert grown / 400 < 0.06
        assert naive / 400 > 0.25

    def test_what_shrinks_is_flat(self) -> None:
        """Nobody complains."""
        assert soak_row(series([900 - second / 10 for second in MINUTES]))["flat"]


class TestReport:
    @pytest.mark.parametrize(
        ("change", "passed"),
        [({}, True), ({"num_errors": 1}, False), ({"mismatches": 1}, False)],
    )
    def test_one_error_or_one_difference_fails(self, change: dict[str, int], passed: bool) -> None:
        """The document says which."""
        report = soak_report(replace(Soaked(), **change), [series([500.0] * len(MINUTES))], FACTS, "soak")
        assert report.facts["passed"] is passed
        assert report.document()["rows"][0]["resident_slope"] == pytest.approx(0, abs=1e-6)
        assert len(report.draw(report.rows).axes) == 2

    def test_growth_fails(self) -> None:
        """Of any process."""
        steady, leak = series([500.0] * len(MINUTES)), series([500 + second for second in MINUTES])
        assert not soak_report(Soaked(), [steady, leak], FACTS, "soak").facts["passed"]


class TestSoak:
    def test_a_server_that_is_right_is_not_blamed(self, config) -> None:
        """All kinds of requests were sent, and its processes were looked at."""
        found, before = Soaked(), children()
        with running_server(config) as url:
            (leader,) = children() - before
            with Watcher(leader, 0.2) as watcher:
                asyncio.run(soak(url, found, ["the one", "an other"], 24, 6, 2.0))
        assert not found.errors
        assert found.mismatches == 0
        assert set(found.requests) == {"whole", "left", "sampled", "malformed"}
        names = {each.name for each in watcher.series.values()}
        assert {"main", "model", "http"} <= names
        assert all(min(each.files) > 0 and min(each.resident) > 1 for each in watcher.series.values())

    def test_an_answer_that_differs_is_counted(self, config, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: a client that hears another first token now and then."""
        honest = Asked.ask

        async def dishonest(self: Asked, question: Question, leave_after: int | None = None) -> Answer:
            answer = await honest(self, question, leave_after)
            if question.draft == "general":
                answer.token_ids[0] += 1
            return answer

        monkeypatch.setattr(Asked, "ask", dishonest)
        found = Soaked()
        with running_server(config) as url:
            asyncio.run(soak(url, found, ["the one"], 16, 4, 1.5))
        assert 0 < found.mismatches < found.requests["whole"] + found.requests["left"]
        assert not found.errors
