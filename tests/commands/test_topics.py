"""`polydraft topics`: what is refused before anything is loaded."""

import pytest

from commands.topic_place import command_of
from commands.topics import _range
from configs.errors import ConfigError
from polydraft import main


@pytest.mark.parametrize(
    ("text", "numbers"), [("1..4", [1, 2, 3, 4]), ("2,6", [1, 2, 6]), ("6", [1, 6]), ("3..4", [1, 3, 4])]
)
def test_numbers_of_drafts_are_a_range_or_a_list_and_one_is_always_among_them(text, numbers):
    assert _range(text) == numbers


@pytest.mark.parametrize("text", ["0..3", "4..2", "x", "1..", "0"])
def test_what_is_no_number_of_drafts_is_refused(text):
    with pytest.raises(ConfigError):
        _range(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["discover", "--data", "a", "--traces", "b"], "exclude each other"),
        (["discover", "--k", "many"], "no list of numbers"),
        (["merge", "sql", "sql"], "one topic"),
    ],
)
def test_contradictions_are_errors_in_one_line(capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["topics", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_that_repeats_one_names_folders_without_their_place(tmp_path):
    assert command_of("drift", traces=tmp_path / "log", limit=None) == "polydraft topics drift --traces log"
