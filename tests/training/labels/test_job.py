"""Labels of prompts and traces on toy models: exact, cached, resumable."""

import numpy as np
import pytest
import torch

from configs.errors import ConfigError
from decoding.checkpoint import fingerprint
from decoding.load import load_draft, load_model
from decoding.trace_reader import TraceReader
from drafts.model_drafter import ModelDrafter
from drafts.pool import DraftSpec
from router.costs import CostTable
from tests.serving.toy_folder import write_toys
from tests.training.online.streams import write_log
from tests.training.replay.recorded import answered
from training.labels import answers, job, scores
from training.labels.job import Setting, label_questions, label_traces
from training.labels.questions import Question
from training.labels.scores import ScoreBook

QUESTIONS = [Question(f"the {word} in {word}", "sql") for word in ("hen", "tin", "anther")]


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return write_toys(tmp_path_factory.mktemp("toys"))


def setting(toys, output, **changes):
    drafts = {name: DraftSpec(name, f"{name}@v1", toys / name) for name in ("general", "sql")}
    return Setting(
        **{"target": toys / "target", "drafts": drafts, "output": output, "max_length": 96, "max_tokens": 12, **changes}
    )


class TestQuestions:
    def test_greedy_runs_are_those_of_a_live_request(self, toys, tmp_path):
        """For every draft and length; without proposals there are as many as tokens."""
        found = label_questions(setting(toys, tmp_path), QUESTIONS).table
        target = load_model(toys / "target", 4, 96)
        book = next(iter((tmp_path / "answers").iterdir()))
        traces = {tuple(each.token_ids[: each.prompt_length]): each for each in TraceReader(book)}
        assert found.texts == tuple(each.text for each in QUESTIONS)
        assert len(traces) == 3
        tokenizer = setting(toys, tmp_path).tokenizer
        for row, question in enumerate(QUESTIONS):
            prompt = [1, *tokenizer(question.text)["input_ids"], 2]
            trace = traces[tuple(prompt)]
            for place, name in enumerate(found.drafts):
                drafters = {"d": ModelDrafter(load_draft(toys / name, 4, 96))}
                for length in (1, 3, 8):
                    options = {"drafters": drafters, "drafter": "d", "num_draft_tokens": length}
                    live = answered(target, prompt, trace.sampling, **options)
                    assert live.generated == trace.answer_ids
                    assert found.runs[row, place, length] == live.counts.num_target_runs
            assert (found.runs[row, :, 0] == len(trace.answer_ids)).all()

    def test_a_perfect_draft_costs_least_at_every_temperature(self, toys, tmp_path):
        """It is accepted whole; a random one hardly ever."""
        found = label_questions(setting(toys, tmp_path, temperature=0.8), QUESTIONS).table
        general, perfect = found.runs[:, 0, 4], found.runs[:, 1, 4]
        assert (perfect < general).all()
        np.testing.assert_allclose(perfect, 1 + np.ceil((found.tokens - 1) / 5), rtol=1e-3)

    def test_what_is_known_is_neither_asked_nor_replayed_again(self, toys, tmp_path):
        """A new version costs its own replay and no more; the same folder gives the same table."""
        first = label_questions(setting(toys, tmp_path), QUESTIONS)
        again = label_questions(setting(toys, tmp_path), QUESTIONS)
        assert (first.asked, first.replayed) == (3, {"general": 3, "sql": 3})
        assert (again.asked, again.replayed) == (0, {"general": 0, "sql": 0})
        assert again.table.digest == first.table.digest == CostTable.load(tmp_path).digest
        newer = {**setting(toys, tmp_path).drafts, "sql": DraftSpec("sql", "sql@v2", toys / "math")}
        third = label_questions(setting(toys, tmp_path, drafts=newer), QUESTIONS)
        assert (third.asked, third.replayed) == (0, {"general": 0, "sql": 3})
        assert third.table.versions == ("general@v1", "sql@v2")

    def test_a_killed_run_goes_on_where_it_was(self, toys, tmp_path, monkeypatch):
        """Answers and replays are kept piece by piece; the table is that of a run that nobody killed."""
        whole = label_questions(setting(toys, tmp_path / "whole"), QUESTIONS).table
        monkeypatch.setattr(answers, "PIECE", 1)
        monkeypatch.setattr(scores, "PIECE", 1)

        def killer(wanted, at):
            def told(what, done, of):
                if (what, done) == (wanted, at):
                    raise KeyboardInterrupt

            return told

        for wanted in ("answers", "general@v1"):
            with pytest.raises(KeyboardInterrupt):
                label_questions(setting(toys, tmp_path / "killed", told=killer(wanted, 2)), QUESTIONS)
        assert not (tmp_path / "killed" / "costs.json").exists()
        left = label_questions(setting(toys, tmp_path / "killed"), QUESTIONS)
        assert left.replayed == {"general": 1, "sql": 3}
        assert left.table.digest == whole.digest

    def test_a_damaged_piece_is_replayed_again(self, toys, tmp_path, caplog):
        """It is only a cache; but it is said."""
        table = label_questions(setting(toys, tmp_path), QUESTIONS).table
        (piece,) = (tmp_path / "acceptances" / fingerprint(toys / "sql")[:32]).iterdir()
        piece.write_bytes(piece.read_bytes()[:-3])
        again = label_questions(setting(toys, tmp_path), QUESTIONS)
        assert again.replayed == {"general": 0, "sql": 3}
        assert again.table.digest == table.digest
        assert "damaged" in caplog.text

    def test_prompts_that_leave_no_room_are_counted(self, toys, tmp_path):
        """And where none is left, that is an error."""
        long = Question("the " * 90, "sql")
        assert label_questions(setting(toys, tmp_path), [*QUESTIONS, long]).left_out == 1
        with pytest.raises(ConfigError, match="no prompt leaves room"):
            label_questions(setting(toys, tmp_path), [long])


class TestTraces:
    def test_recorded_answers_are_scored_without_the_target(self, toys, tmp_path, monkeypatch):
        """The same runs as for prompts; the text is what the user said, the group the topic."""
        found = label_questions(setting(toys, tmp_path / "prompts"), QUESTIONS)
        (book,) = (tmp_path / "prompts" / "answers").iterdir()
        monkeypatch.setattr(job, "AnswerBook", None)
        traced = label_traces(setting(toys, tmp_path / "traces"), book)
        assert set(traced.table.texts) == {each.text for each in QUESTIONS}
        order = [traced.table.texts.index(text) for text in found.table.texts]
        np.testing.assert_array_equal(traced.table.rows(order).runs, found.table.runs)
        assert set(traced.table.groups) == {""}

    def test_the_newest_answer_to_a_prompt_counts(self, toys, tmp_path):
        """A log repeats itself."""
        label_questions(setting(toys, tmp_path), QUESTIONS)
        (book,) = (tmp_path / "answers").iterdir()
        traces = list(TraceReader(book))
        write_log(tmp_path / "log", [traces[0], *traces])
        assert len(label_traces(setting(toys, tmp_path / "two"), tmp_path / "log").table) == 3
        assert len(label_traces(setting(toys, tmp_path / "two"), tmp_path / "log", most=2).table) == 2

    def test_a_folder_without_traces_of_the_target_is_an_error(self, toys, tmp_path):
        """Of another target there may be some."""
        with pytest.raises(ConfigError, match="no traces of this deployment's target"):
            label_traces(setting(toys, tmp_path), tmp_path)


class TestScoreBook:
    def test_the_oldest_answers_are_forgotten(self, toys, tmp_path, monkeypatch):
        """For books that follow live traffic."""
        monkeypatch.setattr(scores, "PIECE", 1)
        label_questions(setting(toys, tmp_path), QUESTIONS)
        (book,) = (tmp_path / "answers").iterdir()
        traces = list(TraceReader(book))
        kept = ScoreBook(tmp_path / "acceptances", fingerprint(toys / "sql"), lambda: load_model(toys / "sql", 4, 96))
        kept.prune(2)
        kept.scores(traces)
        assert kept.num_replayed == 1

    def test_what_is_read_back_is_what_was_computed(self, toys, tmp_path):
        """To the last bit, for answers that were drawn, too."""
        label_questions(setting(toys, tmp_path, temperature=1.0), QUESTIONS)
        (book,) = (tmp_path / "answers").iterdir()
        traces = list(TraceReader(book))
        first, second = (
            ScoreBook(tmp_path / "own", "f" * 64, lambda: load_model(toys / "general", 4, 96)) for _ in range(2)
        )
        computed, read = first.scores(traces), second.scores(traces)
        assert (first.num_replayed, second.num_replayed) == (3, 0)
        for one, other in zip(computed, read, strict=True):
            assert torch.equal(one.values, other.values)
            assert (one.first, one.max_tokens) == (other.first, other.max_tokens)
            assert ((one.values > 0) & (one.values < 1)).any()
