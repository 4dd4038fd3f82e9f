"""`bench load` sends every prompt once a round and compares plain with routed on the same ones."""

import pytest

from benchmarks.load import Round, Stream, load_rows, run_load
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
    rows = {(row["concurrency"], row["method"]): row for row in load_rows(rounds)}
    assert rows[1, "routed"]["speedup"] == 2.5
    assert rows[8, "routed"]["against_one_by_one"] == 2
    assert rows[8, "plain"]["against_one_by_one"] == 2.5
    assert rows[8, "plain"]["tokens_per_second"] == 10
    assert [rows[key]["identical"] for key in rounds] == [True, True, True, False]
    assert rows[8, "plain"]["of_loop"] is None


def test_http_is_held_against_the_same_rounds_without_it():
    """The share of the step loop's own throughput that is left."""
    rounds = {(8, "plain"): [round_of(2, "ab"), round_of(4, "ab"), round_of(2, "ab")]}
    (row,) = load_rows(rounds, {(8, "plain"): [1.8, 3.0, 1.9]})
    assert row["of_loop"] == 0.9


def test_what_cannot_be_measured_is_refused_before_a_server_starts(config):
    """Too few requests for the clients, too few prompts for the rounds, more clients than slots and queue."""
    with pytest.raises(ConfigError, match="12 requests cannot keep 64 clients busy"):
        run_load(config, None, [64], requests=12, tokens=8, repeats=1)
    with pytest.raises(ConfigError, match="96 prompts cannot make 4 rounds of 32"):
        run_load(config, None, [1], requests=32, tokens=8, repeats=4)
    with pytest.raises(ConfigError, match="8 slots and a queue of 64"):
        run_load(config, None, [1, 80], requests=80, tokens=8, repeats=1)


@pytest.mark.e2e
def test_a_real_server_answers_all_alike(config, tmp_path):
    """One client and more than there are slots, plain and routed, through HTTP: same answers, all counted."""
    report = run_load(config, None, [1, 12], requests=12, tokens=12, repeats=1)
    rows = report.document()["rows"]
    assert [(row["concurrency"], row["method"]) for row in rows] == [
        (1, "plain"),
        (1, "routed"),
        (12, "plain"),
        (12, "routed"),
    ]
    assert all(row["identical"] and row["requests"] == 12 for row in rows)
    assert len({row["tokens"] for row in rows}) == 1
    assert {row["method"]: row["mean_acceptance_length"] is None for row in rows} == {"plain": True, "routed": False}
    assert report.save(tmp_path)[2].read_bytes()[:4] == b"\x89PNG"
