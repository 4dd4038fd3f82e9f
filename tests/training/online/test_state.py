from dataclasses import replace

from decoding.trace_reader import Cursor
from tests.toy_traces import make_trace
from training.online.lesson import examples_of
from training.online.state import Desk, Job, Pending, State

JOB = Job("a", 3, Cursor(5), Cursor(9), 1, 20, 4, 0.5, "20 traces and 4 replayed ones")


class TestDesk:
    def test_what_is_kept_is_there_for_the_next_process(self, tmp_path):
        """State and job, every field; an empty desk has neither."""
        assert (Desk(tmp_path / "sql").state, Desk(tmp_path / "sql").job) == (State(), None)
        state = State(Cursor(7, 2), Pending(4, Cursor(5), 120), "a")
        Desk(tmp_path / "sql").keep(state)
        Desk(tmp_path / "sql").begin(JOB, examples_of([make_trace(1), make_trace(2)]))
        found = Desk(tmp_path / "sql")
        assert (found.state, found.job, len(found.examples())) == (state, JOB, 2)
        found.note_run(JOB, "r")
        assert Desk(tmp_path / "sql").job == replace(JOB, run="r")
        found.clear()
        assert Desk(tmp_path / "sql").job is None
        assert [path.name for path in (tmp_path / "sql").iterdir()] == ["state.json"]

    def test_a_job_that_was_not_whole_is_no_job(self, tmp_path):
        """Killed while its examples were written; the next one takes its place."""
        desk = Desk(tmp_path)
        (tmp_path / ".job.new").mkdir()
        (tmp_path / ".job.new" / "examples.safetensors").write_bytes(b"half")
        assert desk.job is None
        desk.begin(JOB, examples_of([make_trace(1)]))
        assert desk.job == JOB
