"""`bench load` sends every prompt once a round and compares plain with routed on the same ones."""

import pytest

from benchmarks.load import LoadReport, Round, Stream, run_load
from configs.errors import ConfigError


def round_of(seconds, texts):
    return Round(seconds, [Stream(text, 10, 0.1, seconds, [0.01, 0.03]) for text in texts])


def test_ratios_are_taken_round_by_round():
    """Over plain: the same clients without drafts. Over one by one: the same method with the fewest clients."""
    rounds = {
        (1, "plain"): [round_of(4, "ab"), round_of(6, "ab")],
        (1, "routed"): [round_of(2, "ab"), round_of(2, "ab")],
        (8, "plain"): [round_of(2, "ab"), round_of(2, "ab")],
        (8, "routed"): [round_of(1, "ab"), round_of(1, "ac")],
    }
    rows = {(row["concurrency"], row["method"]): row for row in LoadReport("x", rounds).document()["rows"]}
    assert rows[1, "routed"]["speedup"] == 2.5
    assert rows[8, "routed"]["against_one_by_one"] == 2
    assert rows[8, "plain"]["against_one_by_one"] == 2.5
    assert rows[8, "plain"]["tokens_per_second"] == 10
    assert [rows[key]["identical"] for key in rounds] == [True, True, True, False]


def test_more_clients_than_prompts_is_an_error():
    """The message says which option to raise."""
    with pytest.raises(ConfigError, match="cannot keep 64 clients busy"):
        run_load(None, None, [64], requests=12, tokens=8, repeats=1)


@pytest.mark.e2e
def test_a_real_server_answers_all_alike(config):
    """Two clients, plain and routed, through HTTP: same answers, all counted."""
    report = run_load(config, None, [1, 2], requests=4, tokens=12, repeats=1)
    rows = report.document()["rows"]
    assert [(row["concurrency"], row["method"]) for row in rows] == [
        (1, "plain"),
        (1, "routed"),
        (2, "plain"),
        (2, "routed"),
    ]
    assert all(row["identical"] and row["requests"] == 4 for row in rows)
    assert len({row["tokens"] for row in rows}) == 1
