from registry.describe import (
    draft_description,
    finished_name,
    router_description,
    run_note,
    running_name,
    version_description,
)


def test_runs_are_named_for_what_they_do_and_then_for_what_they_made() -> None:
    """Topic, job, and the version that it started from or became."""
    assert running_name("sql", "online", 8) == "sql online from v8"
    assert running_name("sql", "distilled") == "sql distilled"
    assert finished_name("sql", "online", 9) == "sql v9 online"


def test_a_model_says_what_it_is_for_how_to_load_it_and_what_its_data_allow() -> None:
    """For people who find it in MLflow."""
    text = draft_description("starter", "sql", "Data: MIT.")
    for words in ("sql text", "AutoModelForCausalLM.from_pretrained", "polydraft registry show sql", "Data: MIT."):
        assert words in text
    assert "no particular topic" in draft_description("starter", "general", "")
    assert "registry://mine-router@champion" in router_description("mine", "")


def test_a_version_is_described_in_one_sentence() -> None:
    """With what it came from, if that is known."""
    assert version_description("better than v8", "trained from v8") == "better than v8; trained from v8."
    assert version_description("Better.") == "Better."


def test_the_note_of_a_run_has_outcome_table_and_commands() -> None:
    """Markdown that MLflow shows as it is meant."""
    note = run_note("Better.", ["figure", "new", "v8"], [["alpha", ".888", ".880"]], "polydraft distill", "polydraft x")
    assert note.split("\n\n") == [
        "Better.",
        "| figure | new | v8 |\n| --- | --: | --: |\n| alpha | .888 | .880 |",
        "Repeat: `polydraft distill`",
        "Undo: `polydraft x`",
    ]
    assert "Undo" not in run_note("Better.", [], [], "polydraft distill")
