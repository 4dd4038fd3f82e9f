"""What the worker does with a version that has just taken over."""

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from decoding.costs import StepCosts
from decoding.load import load_model
from decoding.model import LanguageModel
from decoding.request import SamplingParams, SpeculationCounts
from decoding.step_loop import StepLoop
from drafts.canary import CanaryRule
from drafts.pool import DraftPool, DraftSpec
from serving.canaries import Canaries, WayBack, speedup_of
from serving.engine import Engine
from serving.wire import Job
from tests.decoding.conftest import write_checkpoint

COSTS = StepCosts({1: 1.0, 2: 1.2, 4: 1.6}, {1: 0.1})


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A target, which is its own best draft, and a draft that knows nothing of it."""
    place = tmp_path_factory.mktemp("models")
    return {
        "good": write_checkpoint(place / "good", "llama"),
        "bad": write_checkpoint(place / "bad", "llama", num_hidden_layers=1),
    }


class Worker:
    """An engine with one topic, and a hand on its drafts."""

    def __init__(self, folders: dict[str, Path], first: str, rule: CanaryRule, share: float = 0.2):
        self.folders = folders
        specs = {name: DraftSpec(name, f"{name}@v1", folders[first]) for name in ("sql", "math")}
        self.num_loads = 0
        self.pool = DraftPool({"sql": specs["sql"]}, self._load, prompt_lookup=False)
        self.pool.select("sql")
        self.math = specs["math"]
        self.loop = StepLoop(load_model(folders["good"], 4, 64), self.pool, 3)
        self.canaries = Canaries(self.pool, rule, share, load=partial(self._load, slots=1))
        self.engine = Engine(self.loop, self.pool, None, 3, None, self.canaries)
        self.number = 0

    def _load(self, folder: Path, slots: int = 4) -> LanguageModel:
        self.num_loads += 1
        return load_model(folder, slots, 64)

    def take_over(self, which: str, label: str) -> None:
        """As `DraftSwapper` does."""
        name = label.partition("@")[0]
        spec, before = DraftSpec(name, label, self.folders[which]), self.pool.current(name)
        assert before is not None
        self.pool.replace(spec, self.pool.loaded(spec))
        self.canaries.begin(before, spec)

    def ask(self, temperature: float = 0.0, draft: str = "sql") -> list[int]:
        """One request to its end; its answer."""
        self.number += 1
        name = f"r{self.number}"
        sampling = SamplingParams(max_tokens=12, temperature=temperature, seed=7)
        self.engine.admit(Job(name, [5, 3 + self.number % 40, 9], "", sampling, draft))
        said: list[int] = []
        while self.engine.busy:
            message = self.engine.advance()
            assert message is not None
            for output in message.outputs:
                said += output.token_ids
        return said

    def ask_until_back(self, most: int) -> int | None:
        """Requests until the version before serves again."""
        label = self.pool.label("sql")
        for count in range(1, most + 1):
            self.ask()
            time.sleep(0.003)  # the thread that reads answers again may fall behind otherwise
            if self.pool.label("sql") != label:
                return count
        return None


RULE = CanaryRule(burn_in=5, most_requests=60)


class TestCanaries:
    def test_a_worse_version_is_given_up_and_no_answer_changes(self, folders):
        """The one before serves again, also requests that run; both the message and the registry's side are told."""
        worker = Worker(folders, "good", RULE)
        expected = [worker.ask() for _ in range(40)]
        worker.number = 0
        worker.take_over("bad", "sql@v2")
        said, backs = [], []
        worker.engine.follow(*_pipes(backs))
        for _ in range(40):
            said.append(worker.ask())
            time.sleep(0.003)
        assert said == expected
        assert worker.pool.label("sql") == "sql@v1"
        (back,) = backs
        assert (back.name, back.left, back.back) == ("sql", "sql@v2", "sql@v1")
        assert "fewer right tokens than sql@v1" in back.reason
        assert worker.pool.versions == {"sql": "sql@v1"}
        assert not worker.canaries
        assert worker.pool["sql"].num_requests == 0

    @pytest.mark.parametrize("candidate", ["good", "bad"])
    def test_a_version_that_is_no_worse_passes(self, folders, candidate):
        """The control: better, or the same weights."""
        worker = Worker(folders, "bad", RULE)
        worker.take_over(candidate, "sql@v2")
        assert worker.ask_until_back(80) is None
        assert worker.pool.label("sql") == "sql@v2"
        assert not worker.canaries

    def test_the_versions_before_are_loaded_once_though_answers_of_topics_alternate(self, folders):
        """To read answers again: a load takes many times as long as reading one."""
        worker = Worker(folders, "good", CanaryRule(most_requests=1000))
        worker.pool.specs["math"] = worker.math
        worker.pool.select("math")
        for label in ("sql@v2", "math@v2"):
            worker.take_over("good", label)
        before = worker.num_loads
        for _ in range(8):
            for draft in ("sql", "math"):
                worker.ask(draft=draft)
                time.sleep(0.01)
        assert worker.num_loads == before + 2

    def test_a_share_of_routed_requests_stays_with_the_version_before(self, folders):
        """While it is watched; the others get the new one."""
        worker = Worker(folders, "good", RULE, share=0.25)
        assert worker.canaries.version_for("sql") == "sql"
        worker.take_over("good", "sql@v2")
        assert [worker.canaries.version_for("sql") for _ in range(8)] == (["sql"] * 3 + ["sql@v1"]) * 2
        assert worker.canaries.version_for(None) is None
        assert worker.pool.label("sql@v1") == "sql@v1"
        assert worker.pool.names == ["sql"], "nobody may ask for it"

    def test_requests_of_the_version_before_go_on_when_it_leaves(self, folders):
        """In mid-answer, with the one that serves."""
        worker = Worker(folders, "good", RULE)
        expected = worker.ask()
        worker.number = 0
        worker.take_over("good", "sql@v2")
        worker.engine.admit(Job("r", [5, 4, 9], "", SamplingParams(max_tokens=12), "sql"))
        worker.loop.assign("r", "sql@v1")
        worker.engine.advance()
        worker.take_over("bad", "sql@v3")
        said = []
        while worker.engine.busy:
            worker.engine.advance()
            said = [request.generated for request in worker.loop.requests] or said
        assert set(worker.pool.specs) == {"sql", "sql@v2"}
        assert said[0] == expected[: len(said[0])]

    def test_answers_of_a_version_that_has_left_are_not_read(self, folders, monkeypatch):
        """They would keep the version before in memory until their turn comes."""
        gate, read = threading.Event(), []
        of_other_tests = set(threading.enumerate())  # whose readers may still have answers to read

        def wait(*_: object) -> float:
            if threading.current_thread() in of_other_tests:
                return 0.0
            gate.wait(10)
            read.append("one")
            return 0.0

        monkeypatch.setattr("serving.canaries.shortfall", wait)
        worker = Worker(folders, "good", CanaryRule(most_requests=1000))
        worker.take_over("good", "sql@v2")
        for _ in range(6):
            worker.ask()
        worker.take_over("good", "sql@v3")
        gate.set()
        worker.ask()
        until = time.monotonic() + 10
        while len(read) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(read) == 2, "the one in hand, and the one of the version that serves"

    def test_versions_that_take_turns_quickly_leave_nothing_behind(self, folders):
        """Back and forth between two steps."""
        worker = Worker(folders, "good", RULE)
        for label in ("sql@v2", "sql@v1", "sql@v2", "sql@v1"):
            worker.take_over("good", label)
        worker.ask()
        assert set(worker.pool.specs) == {"sql", "sql@v2"}

    def test_without_watching_a_version_just_takes_over(self, folders):
        """drafts.canary.requests: 0."""
        worker = Worker(folders, "good", CanaryRule(most_requests=0))
        worker.take_over("bad", "sql@v2")
        assert worker.ask_until_back(30) is None
        assert not worker.canaries

    def test_drawn_answers_are_not_compared(self, folders):
        """Their draft is right by chance, so only the floor would speak."""
        worker = Worker(folders, "good", RULE)
        worker.take_over("bad", "sql@v2")
        for _ in range(20):
            worker.ask(temperature=1.0)
        assert worker.pool.label("sql") == "sql@v2"

    def test_a_version_that_costs_more_than_it_gains_is_given_up(self, folders):
        """Whatever the one before did: here it was the same."""
        worker = Worker(folders, "bad", CanaryRule(floor_requests=10, least_speedup=1.0))
        worker.canaries._costs = StepCosts({1: 1.0, 2: 2.0}, {1: 0.5})
        worker.take_over("bad", "sql@v2")
        assert worker.ask_until_back(20) is not None


def test_the_speedup_is_tokens_over_their_cost():
    """Ten runs of which each verifies two drafted tokens, and emits two tokens."""
    counts = SpeculationCounts(num_target_runs=10, num_draft_tokens=20, num_generated_tokens=20)
    assert speedup_of(counts, COSTS) == pytest.approx(20 / (10 + 20 * 0.2 + 20 * 0.1))
    counts.num_copied_tokens = 20
    assert speedup_of(counts, COSTS) == pytest.approx(20 / (10 + 20 * 0.2))


def _pipes(backs: list[WayBack]):
    """No versions ever, and a list in place of the pipe to the registry's side."""

    class Never:
        def recv(self):
            raise EOFError

    class Listed:
        send = backs.append

    return Never(), Listed()
