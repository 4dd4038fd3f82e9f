"""Students of a few hundred weights and streams whose laws are known exactly."""

from types import SimpleNamespace

import torch
from torch import nn

from training.distillation.examples import Examples, ScoredText, pack


class Body(nn.Module):
    """An embedding, as the only layer of a language model: the student sees one token back."""

    def __init__(self, vocab_size, width):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)

    def forward(self, input_ids, use_cache):
        return SimpleNamespace(last_hidden_state=self.embedding(input_ids))


class Bigram(nn.Module):
    """A student whose law of the next token is a low-rank function of the last one."""

    def __init__(self, vocab_size, width, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.model = Body(vocab_size, width)
        self.lm_head = nn.Linear(width, vocab_size)


def random_laws(vocab_size, seed, sharpness=2.0):
    """A teacher: the law of the next token for each last token, [vocab, vocab]."""
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(vocab_size, vocab_size, generator=generator)).softmax(-1)


def stream(laws, texts, length, seed, prompt=2, top=None) -> Examples:
    """Texts drawn from a teacher, with its law of every token after the prompt."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(texts):
        token_ids = [int(torch.randint(len(laws), (1,), generator=generator))]
        while len(token_ids) < length:
            token_ids.append(int(torch.multinomial(laws[token_ids[-1]], 1, generator=generator)))
        best = laws[torch.tensor(token_ids[prompt - 1 : -1])].topk(top or len(laws), dim=-1)
        found.append(ScoredText(token_ids, prompt, best.indices, best.values))
    return pack(found)
