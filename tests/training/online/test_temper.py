import torch

from decoding.load import load_model
from tests.training.online.streams import stream
from training.distillation.export import load_student
from training.online import temper
from training.online.temper import fitted_temperature, fold_temperature
from training.online.trial import SLOTS, longest
from training.replay import acceptances


class TestTemperature:
    def test_folded_into_the_weights_it_is_the_temperature(self, models, traces, tmp_path):
        """The draft replays as if it drew at that temperature, and greedily as before."""
        student = load_student(models[1])
        fold_temperature(student, 0.6)
        student.save_pretrained(tmp_path)
        some = traces[:10] + stream(*models, 5, temperature=0.0)
        own, folded = (load_model(folder, SLOTS, longest(some)) for folder in (models[1], tmp_path))
        for expected, found in zip(acceptances(own, some, 0.6), acceptances(folded, some), strict=True):
            torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-6)

    def test_a_draft_that_was_heated_is_cooled_again(self, models, traces, tmp_path, monkeypatch):
        """The target itself, with its logits halved: half the temperature sets it right; the target needs nothing."""
        monkeypatch.setattr("training.replay.temperature.GRID", (0.5, 1.0, 2.0))
        student = load_student(models[0])
        fold_temperature(student, 2.0)
        student.save_pretrained(tmp_path)
        own, heated = (load_model(folder, SLOTS, longest(traces)) for folder in (models[0], tmp_path))
        assert fitted_temperature(heated, traces, 4) == 0.5
        assert fitted_temperature(own, traces, 4) == 1.0

    def test_few_drawn_answers_fit_nothing(self, models, traces):
        """Neither a handful, nor greedy ones, however many."""
        greedy = stream(*models, temper._FEWEST + 1, temperature=0.0)
        model = load_model(models[1], SLOTS, longest(traces))
        assert fitted_temperature(model, traces[: temper._FEWEST - 1], 4) == 1.0
        assert fitted_temperature(model, greedy, 4) == 1.0
