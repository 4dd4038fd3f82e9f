import pytest

from serving.seeing.watch import Change
from serving.wire import Load, Routing
from tests.serving.seeing.toy_watch import ROUTED, UNDECIDED, B, C, D, L, P, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


class TestSpeculation:
    def test_counts_are_those_of_vllm(self, stage: Stage) -> None:
        """Drafts, drafted and accepted tokens, and the accepted ones by position from 0."""
        stage.open("a")
        stage.route("a")
        stage.run("a", 0, [P])
        stage.run("a", 4, [D, D, C])
        stage.run("a", 3, [D, D, D, B], "length")
        key = ("sql", "sql", "v1")
        assert stage.counted("spec_decode_num_drafts") == {key: 2}
        assert stage.counted("spec_decode_num_draft_tokens") == {key: 7}
        assert stage.counted("spec_decode_num_accepted_tokens") == {key: 5}
        assert stage.counted("spec_decode_num_accepted_tokens_per_pos") == {
            (*key, "0"): 2,
            (*key, "1"): 2,
            (*key, "2"): 1,
        }
        assert stage.counted("request_runs") == {("plain",): 1, ("speculative",): 2}
        assert stage.counted("generation_tokens") == {("plain",): 1, ("draft",): 5, ("corrected",): 1, ("bonus",): 1}

    def test_what_prompt_lookup_proposed_is_not_the_drafts(self, stage: Stage) -> None:
        """It may propose beside any draft."""
        stage.open("a")
        stage.route("a")
        stage.run("a", 4, [L, L, C])
        stage.run("a", 4, [D, C])
        drafted = stage.counted("spec_decode_num_draft_tokens")
        assert drafted == {("sql", "lookup", ""): 4, ("sql", "sql", "v1"): 4}

    def test_merged_drafts_are_one_series(self, stage: Stage) -> None:
        """Clients may join names as they like; labels must not grow with that."""
        for number, draft in enumerate(("sql@v1+math@v2", "math@v2+sql@v1")):
            stage.open(str(number))
            stage.route(str(number), Routing(None, draft, None, "asked"))
            stage.run(str(number), 4, [D, C])
        assert stage.counted("spec_decode_num_drafts") == {("none", "merged", ""): 2}


class TestVersions:
    def test_tokens_after_a_swap_belong_to_the_new_version(self, stage: Stage) -> None:
        """Also those of answers that were routed before."""
        stage.say(drafts={"sql": "sql@v1", "general": "general@v1"})
        stage.open("a")
        stage.route("a")
        stage.run("a", 2, [D, C])
        stage.say(drafts={"sql": "sql@v2", "general": "general@v1"})
        stage.run("a", 2, [D, D, B])
        assert stage.counted("spec_decode_num_accepted_tokens") == {("sql", "sql", "v1"): 1, ("sql", "sql", "v2"): 2}

    def test_swaps_are_counted_and_told_with_what_was_before(self, stage: Stage) -> None:
        """What serves at the start is no swap."""
        stage.say(drafts={"sql": "sql@v1"})
        stage.say(drafts={"sql": "sql@v2", "math": "math@v1"})
        assert stage.counted("draft_swaps") == {("sql", "installed"): 1, ("math", "installed"): 1}
        at = 1_700_000_000 + stage.now
        first, second = stage.watch.changes
        assert first == Change(at, "installed", "sql", "v2", "v1")
        assert second == Change(at, "installed", "math", "v1")

    def test_an_answer_that_stays_with_the_old_version_counts_there(self, stage: Stage) -> None:
        """A canary keeps some requests on it; what was routed after the swap is where it was routed to."""
        stage.say(drafts={"sql": "sql@v1"})
        stage.say(drafts={"sql": "sql@v2"})
        stage.open("a")
        stage.route("a")
        stage.run("a", 2, [D, C])
        assert stage.counted("spec_decode_num_drafts") == {("sql", "sql", "v1"): 1}

    def test_a_version_that_is_given_up_is_a_rollback(self, stage: Stage) -> None:
        """And a swap, back to the one before."""
        stage.say(drafts={"sql": "sql@v1"})
        stage.say(drafts={"sql": "sql@v2"})
        stage.say(drafts={"sql": "sql@v1"}, given_up=("sql@v2",))
        assert stage.counted("draft_rollbacks") == {("sql",): 1}
        assert stage.counted("draft_swaps") == {("sql", "installed"): 2}
        last = stage.watch.changes[-1]
        assert (last.what, last.version, last.before, last.why) == ("rolled back", "v1", "v2", "v2 did worse")

    def test_refusals_are_counted_once_and_told_with_the_reason(self, stage: Stage) -> None:
        """The worker's, who loads versions, and the followers', who look at them; not that a registry is gone."""
        stage.say(drafts={"sql": "sql@v1"})
        line = "draft sql@v2 is refused, the one before stays: it makes no numbers"
        for _ in range(3):
            stage.say(refused=(line,))
        stage.watch.complained(["sql@v3 was made for another target", "no registry answers at http://there"])
        stage.watch.complained(["sql@v3 was made for another target"])
        assert stage.counted("draft_swaps") == {("sql", "refused"): 2}
        one, two = stage.watch.changes
        assert (one.what, one.version, one.before) == ("refused", "v2", "v1")
        assert one.why == "is refused, the one before stays: it makes no numbers"
        assert (two.version, two.why) == ("v3", "was made for another target")

    def test_series_of_versions_long_gone_are_dropped(self, stage: Stage) -> None:
        """A draft that learns every hour has thousands of versions a year."""
        for number in range(20):
            stage.say(drafts={"sql": f"sql@v{number}"})
            stage.open(str(number))
            stage.route(str(number), Routing("sql", f"sql@v{number}", 0.9, "topic"))
            stage.run(str(number), 2, [D, C])
        for stem in ("spec_decode_num_drafts", "spec_decode_num_accepted_tokens_per_pos"):
            assert {labels[2] for labels in stage.counted(stem)} == {"v16", "v17", "v18", "v19"}


class TestEnds:
    def test_every_answer_ends_once(self, stage: Stage) -> None:
        """By length, by a stop string, by deadline, by an error, or because the client left."""
        for name in ("length", "string", "late", "broken", "left"):
            stage.open(name)
            stage.route(name)
        stage.run("length", 0, [P], "length")
        stage.watch.failed("late", "deadline")
        stage.watch.failed("broken", "error")
        for name in ("length", "string", "late", "broken", "left"):
            stage.watch.closed(name, is_answered=name in ("length", "string"))
            stage.watch.closed(name, is_answered=False)
        assert stage.counted("request_success") == {("length",): 1, ("stop",): 1}
        assert stage.counted("request_failures") == {("deadline",): 1, ("error",): 1, ("left",): 1}
        assert stage.counted("routing_decisions") == {("sql", "sql", "topic"): 5}

    def test_an_answer_counts_under_its_last_routing(self, stage: Stage) -> None:
        """Which may come late, or change with the load."""
        stage.open("a")
        stage.route("a", UNDECIDED)
        stage.run("a", 0, [P])
        stage.route("a", ROUTED)
        stage.route("a", Routing("sql", "none", 0.97, "no_gain"))
        stage.run("a", 0, [P], "stop")
        stage.watch.closed("a", is_answered=True)
        assert stage.counted("routing_decisions") == {("sql", "none", "no_gain"): 1}

    def test_news_of_the_dead_are_nothing(self, stage: Stage) -> None:
        """The worker may go on for a step with an answer that its client has left."""
        stage.open("a")
        stage.watch.closed("a", is_answered=False)
        stage.route("a")
        stage.run("a", 2, [D, C], "stop")
        assert stage.counted("generation_tokens") == {}

    def test_what_alerts_ask_for_begins_at_nothing(self, stage: Stage) -> None:
        """Of a series that appears with a 1, Prometheus never sees the increase."""
        stage.say(drafts={"sql": "sql@v1"})
        values = {stem: counter.values for stem, counter in stage.watch.tally.counters.items()}
        assert values["draft_rollbacks"] == {("sql",): 0}
        assert values["draft_swaps"] == {("sql", "installed"): 0, ("sql", "refused"): 0}
        assert values["request_failures"] == {("deadline",): 0, ("error",): 0, ("left",): 0}
        assert values["requests"][("/v1/chat/completions", "429")] == 0


class TestTimes:
    def test_first_token_gaps_and_the_whole(self, stage: Stage) -> None:
        """Each from what the client would see."""
        stage.open("a")
        stage.route("a", UNDECIDED)
        stage.now += 0.03
        stage.run("a", 0, [P])
        stage.now += 0.02
        stage.route("a", ROUTED)
        stage.now += 0.02
        stage.run("a", 2, [D, C])
        stage.now += 0.05
        stage.run("a", 2, [D, C], "length")
        stage.watch.closed("a", is_answered=True)
        assert stage.times("time_to_first_token_seconds") == (1, pytest.approx(0.03))
        assert stage.times("route_duration_seconds") == (1, pytest.approx(0.05))
        assert stage.times("inter_block_latency_seconds") == (2, pytest.approx(0.09))
        assert stage.times("e2e_request_latency_seconds") == (1, pytest.approx(0.12))

    def test_a_draft_that_was_asked_for_is_not_routed(self, stage: Stage) -> None:
        """So no time of the router's is counted."""
        stage.open("a")
        stage.route("a", Routing(None, "sql@v1", None, "asked"))
        assert stage.times("route_duration_seconds") == (0, 0)

    def test_step_seconds_go_on_after_a_worker_started_anew(self, stage: Stage) -> None:
        """A counter never falls."""
        for pid, seconds in ((1, 0.5), (1, 2.0), (2, 0.25), (2, 1.0)):
            stage.say(load=Load(step_seconds=seconds), pid=pid)
        assert stage.counted("step_seconds") == {(): 3.0}


class TestHistory:
    def test_what_happened_is_added_to_its_time_in_every_range(self, stage: Stage) -> None:
        """By topic and draft, with the load at its highest."""
        stage.open("a")
        stage.route("a")
        stage.say(load=Load(running=3, waiting=1))
        stage.run("a", 4, [D, D, C])
        stage.now += 60
        stage.run("a", 4, [D, C], "stop")
        stage.watch.closed("a", is_answered=True)
        for name, ring in stage.watch.history.rings.items():
            spans = [span for _, span in ring.spans(1_700_000_000 + stage.now) if span is not None]
            cells = [span.cells[("sql", "sql")] for span in spans]
            assert sum(cell.tokens for cell in cells) == 5
            assert sum(cell.runs for cell in cells) == 2
            assert sum(cell.drafts for cell in cells) == 2
            assert sum(cell.accepted for cell in cells) == 3
            assert sum(cell.answers for cell in cells) == 1
            assert max(span.running for span in spans) == 3
            assert len(spans) == (1 if name == "24h" else 2)
