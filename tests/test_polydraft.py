"""The command line: streams, exit codes, errors with what to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import polydraft
from configs.console import read_records, write_whole
from configs.errors import ConfigError, PolydraftError

ROOT = Path(polydraft.__file__).parent


def run(*words, **options):
    command = [sys.executable, str(ROOT / "polydraft.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, **options)


def test_help_imports_nothing_heavy():
    """`polydraft --help` loads none of the libraries that take seconds."""
    code = "import sys, polydraft\ntry:\n    polydraft.main(['--help'])\nexcept SystemExit:\n    pass\n"
    code += (
        "print([name for name in ('torch', 'mlflow', 'sklearn', 'transformers', 'litserve') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([command, "--help"] for command in ("serve", "demo", "route", "selfcheck")),
        *(["bench", bench, "--help"] for bench in ("topics", "theory", "step", "load", "peers")),
        ["registry", "list", "--help"],
        ["traces", "show", "--help"],
        ["replay", "--help"],
        ["gate", "simulate", "--help"],
        ["starter", "build", "--help"],
    ],
)
def test_every_command_explains_itself(words, capsys):
    """--help answers with a sentence and exit code 0."""
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(words)
    assert exit_.value.code == 0
    assert "Usage: polydraft" in capsys.readouterr().out


def test_errors_have_one_form_on_standard_error_and_exit_code_2(capsys):
    """What is wrong, then what to do; nothing on standard output."""
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["route"])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "error: pass either a query or --input"
    assert captured.err.splitlines()[1].startswith("  do: polydraft route")


def test_json_errors_are_one_document_on_standard_output(tmp_path, capsys):
    """Programs read {"error": {what, why, do}}."""
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["registry", "list", "--json", "--config", str(tmp_path / "none.yaml")])
    assert exit_.value.code == 2
    assert set(json.loads(capsys.readouterr().out)["error"]) == {"what", "why", "do"}


def test_a_configuration_with_a_wrong_key_is_refused_by_line(tmp_path, capsys):
    """File, line, key and the nearest known key."""
    file = tmp_path / "wrong.yaml"
    file.write_text("target:\n  slot: 3\n")
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["config", "check", str(file)])
    assert exit_.value.code == 2
    assert f"{file}:2: unknown key target.slot; did you mean slots?" in capsys.readouterr().err


def test_a_list_of_numbers_that_is_none_is_refused(capsys):
    """The message names the option and shows how it is written."""
    for words in (["load", "--concurrency", "1,x"], ["theory", "--alphas", "0,0.5"], ["step", "--batches", ""]):
        with pytest.raises(SystemExit) as exit_:
            polydraft.main(["bench", *words])
        assert exit_.value.code == 2
        assert f"{words[1]} {words[2]} is no list of numbers above 0" in capsys.readouterr().err


def test_an_unknown_command_is_a_usage_error():
    """Exit code 2, no traceback."""
    done = run("serv")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_exit_codes_are_documented(capsys):
    """`polydraft help exit-codes` lists them."""
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["help", "exit-codes"])
    assert exit_.value.code == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["code", "0", "1", "2", "130"]


def test_a_missing_input_file_and_a_bad_line_are_named(tmp_path):
    """The file, and the line in it."""
    with pytest.raises(ConfigError, match="no file"):
        list(read_records(tmp_path / "none", ["prompt"]))
    (tmp_path / "bad").write_text('{"prompt": "a"}\n{"text": "b"}\n')
    with pytest.raises(ConfigError, match="bad:2: needs prompt"):
        list(read_records(tmp_path / "bad", ["prompt"]))


def test_a_result_is_written_whole_or_not_at_all(tmp_path):
    """A missing folder is an error that says what to do; an existing file is replaced."""
    with pytest.raises(ConfigError, match="no folder"):
        write_whole(tmp_path / "none" / "x.json", "1")
    write_whole(tmp_path / "x.json", "1")
    write_whole(tmp_path / "x.json", "2")
    assert (tmp_path / "x.json").read_text() == "2"
    assert len(list(tmp_path.iterdir())) == 1


def test_errors_travel_between_processes():
    """An error keeps its three parts when pickled by multiprocessing."""
    import pickle

    error = PolydraftError("what", do="this", facts=("a", "b"))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.what, copy.do, copy.facts) == ("what", "this", ("a", "b"))
    assert str(copy) == "what\n  a\n  b\n  do: this"


def test_an_interrupt_exits_with_130(monkeypatch, capsys):
    """Ctrl-C is no error and shows no traceback."""

    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(polydraft, "app", interrupt)
    with pytest.raises(SystemExit) as exit_:
        polydraft.main(["demo"])
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
