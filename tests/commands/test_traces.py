"""`polydraft traces show`."""

import json
from pathlib import Path

import pytest

import polydraft
from decoding.trace_log import TraceLog
from decoding.trace_segment import list_segments
from tests.toy_traces import make_trace


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["traces", "show", *map(str, words)])
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clock = iter([1_000.0, 2_000.0, 3_000.0, *[4_000.0] * 9])
    log = TraceLog(tmp_path / "log", clock=lambda: next(clock))
    log.append(make_trace(1, tokens=4))  # three runs, two of whose tokens a draft wrote
    log.append(make_trace(2, tokens=6, draft="sql@v2", target="u"))
    log.append(make_trace(3, tokens=1, topic=None, draft=None))
    log.close()
    return tmp_path / "log"


class TestTracesShow:
    def test_counts_by_topic(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As a document."""
        code, out, err = run(capsys, "--traces", folder, "--json")
        document = json.loads(out)
        assert (code, err, document["folder"], document["damaged"]) == (0, "", str(folder), [])
        sql, none = document["topics"]
        times = sql.pop("first"), sql.pop("last")
        assert times[0] < times[1]
        assert sql == {
            "topic": "sql",
            "traces": 2,
            "tokens": 10,
            "drafts": {"sql@v1": 1, "sql@v2": 1},
            "targets": {"t": 1, "u": 1},
            "tokens_per_target_run": round(10 / 7, 4),
            "accepted_share": 0.5,
        }
        assert (none["topic"], none["drafts"], none["accepted_share"]) == (None, {"none": 1}, 0.0)

    def test_a_table(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Tab-separated where nobody looks."""
        code, out, _ = run(capsys, "--traces", folder)
        lines = [line.split("\t") for line in out.splitlines()]
        assert (code, lines[0][0]) == (0, "topic")
        assert [line[0] for line in lines[1:]] == ["sql", "none"]
        assert [lines[1][column] for column in (1, 2, 5, 6, 7)] == ["2", "10", "sql@v1 1, sql@v2 1", "1.43", "0.500"]

    def test_damaged_files_are_named(
        self, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The rest is shown."""
        [(_, path)] = list_segments(folder)
        path.write_bytes(path.read_bytes()[:20])
        code, out, _ = run(capsys, "--traces", folder, "--json")
        assert (code, json.loads(out)["damaged"]) == (0, [str(path)])
        assert f"{path} is damaged" in caplog.text

    def test_a_missing_folder_is_an_error_that_says_what_to_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The deployment's own where none is named."""
        config = tmp_path / "deployment.yaml"
        config.write_text(f"name: shop\ntraces: {{folder: {tmp_path / 'none'}}}\n")
        code, out, err = run(capsys, "--config", config)
        assert (code, out) == (2, "")
        assert err.splitlines()[0] == f"error: no folder {tmp_path / 'none'} of traces"
        assert "traces.enabled: true" in err
