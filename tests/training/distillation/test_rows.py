"""Every law is asked of the student at the position before its token, wherever the example came from."""

import dataclasses

import pytest
import torch

from decoding.request import FinishReason, Origin, SamplingParams
from decoding.trace import SpeculationTrace
from tests.training.distillation.small import Bigram, random_laws, stream
from training.distillation.examples import Examples, from_text, from_traces, join
from training.distillation.measure import by_position, measure
from training.distillation.rows import Schedule, all_rows, collate, epoch_batches, student_logits

VOCAB = 11
D, C, B = Origin.DRAFT, Origin.CORRECTED, Origin.BONUS


def knows(laws):
    """A student whose law after each token is the teacher's own."""
    student = Bigram(len(laws), len(laws))
    with torch.no_grad():
        student.model.embedding.weight.copy_(torch.eye(len(laws)))
        student.lm_head.weight.copy_(laws.log().T)
        student.lm_head.bias.zero_()
    return student


def shifted(examples, by):
    """The bug of released code: every law stands beside the token ``by`` further on."""
    ids, probs = examples.top_ids.roll(by, 0), examples.top_probs.roll(by, 0)
    return dataclasses.replace(examples, top_ids=ids, top_probs=probs)


def test_a_student_that_knows_the_teacher_is_always_accepted():
    """Alpha is 1 at both temperatures and the loss nothing; laws one token late or early are caught."""
    laws = random_laws(VOCAB, seed=1)
    examples = stream(laws, texts=9, length=20, seed=2)
    right = measure(knows(laws), [examples])
    assert (right.alpha_t0, right.alpha_t1) == pytest.approx((1.0, 1.0), abs=2e-3)
    assert right.loss < 1e-3
    assert right.tokens == 9 * 18
    for by in (1, -1):
        wrong = measure(knows(laws), [shifted(examples, by)])
        assert wrong.alpha_t1 < 0.6
        assert wrong.loss > 0.5


def test_padding_and_company_change_no_pairing():
    """Texts of all lengths in one batch: student and law of each token meet as they do alone."""
    laws = random_laws(VOCAB, seed=3)
    parts = [stream(laws, texts=1, length=length, seed=length) for length in (3, 9, 5)]
    student = Bigram(VOCAB, 4)
    together = collate(all_rows(parts))
    alone = [collate(all_rows([part])) for part in parts]
    assert torch.equal(student_logits(student, together), torch.cat([student_logits(student, each) for each in alone]))
    assert torch.equal(together.targets.token_ids, torch.cat([each.targets.token_ids for each in alone]))
    assert together.lengths == [1, 7, 3]


def make_trace(laws, token_ids, origins, prompt=2):
    answer = token_ids[prompt:]
    own = laws[torch.tensor(token_ids[prompt - 1 : -1])]
    best = own.topk(4, dim=-1)
    probs = own.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return SpeculationTrace(
        token_ids=token_ids,
        prompt_length=prompt,
        origins=origins,
        run_lengths=[len(answer)],
        probs=probs,
        drawn_probs=torch.ones(len(answer)),
        top_ids=best.indices.int(),
        top_probs=best.values.half(),
        sampling=SamplingParams(),
        finish_reason=FinishReason.LENGTH,
        topic="sql",
        draft="sql@v1",
        target="t",
    )


def test_wrong_positions_of_a_trace_hold_the_context_and_law_of_a_fresh_forward():
    """A hand-made trace: corrected tokens alone are learnt, each with what a forward over its context says."""
    laws = random_laws(VOCAB, seed=5)
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    trace = make_trace(laws, tokens, [D, C, D, D, C, B])
    wrong = from_traces([trace], wrong_only=True)
    assert wrong.places.tolist() == [3, 6]  # the bonus token is not wrong
    batch = collate(all_rows([wrong]))
    asked = batch.asked.nonzero()[:, 1].tolist()
    assert asked == [2, 5]
    for row, position in enumerate(asked):
        fresh = laws[batch.token_ids[0, position]].topk(4)  # the forward: this teacher looks one token back
        assert torch.equal(batch.targets.token_ids[row], fresh.indices)
        assert torch.allclose(batch.targets.probs[row], fresh.values, atol=1e-3)


def test_all_positions_of_a_trace_count_and_wrong_ones_twice():
    """Weights follow the origins; two traces are packed one after the other."""
    laws = random_laws(VOCAB, seed=5)
    traces = [make_trace(laws, [3, 1, 4, 1], [D, C]), make_trace(laws, [2, 7, 1, 8, 2], [C, D, B])]
    both = from_traces(traces)
    assert both.weights.tolist() == [1, 2, 2, 1, 1]
    assert both.places.tolist() == [2, 3, 6, 7, 8]
    assert both.learnt.tolist() == [4, 1, 1, 8, 2]
    joined = join([from_traces(traces[:1]), from_traces(traces[1:])])
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(vars(joined).values(), vars(both).values(), strict=True)
    )


def test_text_is_predicted_as_it_stands():
    """The law of a token of plain text is that token; the first of a text is nobody's to predict."""
    examples = from_text([([5, 6, 7], 0), ([8, 9], 1), ([4], 0)])
    assert examples.learnt.tolist() == [6, 7, 9]
    assert examples.top_ids[:, 0].tolist() == [6, 7, 9]
    assert len(all_rows([examples])) == 2


def test_examples_survive_their_file(tmp_path):
    """Saved and loaded, they are the same and have the same digest; others have another."""
    examples = stream(random_laws(VOCAB, 1), texts=3, length=6, seed=1, top=4)
    examples.save(tmp_path / "examples.safetensors")
    assert Examples.load(tmp_path / "examples.safetensors").digest() == examples.digest()
    assert shifted(examples, 1).digest() != examples.digest()


def test_seed_and_step_determine_the_batch():
    """Each epoch holds every text once; a step's batch does not depend on which were asked for before."""
    rows = all_rows([stream(random_laws(VOCAB, 1), texts=30, length=8, seed=1)])
    first = Schedule(rows, tokens_per_batch=32, seed=1)
    steps = range(3 * first.steps_per_epoch)
    forward = [first.batch(step) for step in steps]
    again = Schedule(rows, tokens_per_batch=32, seed=1)
    assert [again.batch(step) for step in reversed(steps)] == forward[::-1]
    for epoch in range(3):
        seen = [row.index for batch in epoch_batches(rows, 32, seed=1, epoch=epoch) for row in batch]
        assert sorted(seen) == list(range(30))
    assert forward[0] != forward[first.steps_per_epoch]
    assert Schedule(rows, 32, seed=2).batch(0) != forward[0]


def test_positions_of_a_draft_multiply():
    """Acceptance by position over all beginnings, by hand."""
    texts = [torch.tensor([1.0, 0.5, 0.0]), torch.tensor([1.0])]
    assert by_position(texts, positions=4) == pytest.approx(((1 + 0.5 + 0 + 1) / 4, (0.5 + 0) / 2, 0.0))
