"""The language model: p(caption), whatever the unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .vocabulary import Vocabulary


@dataclass(frozen=True)
class LanguageModelSizes:
    """Sizes of a `CaptionLanguageModel`.

    Attributes:
        embedding: length of a word's vector.
        hidden: length of a layer's state.
        layers: how many LSTM layers.
        dropout: share of a layer's output that training hides from the next.
    """

    embedding: int = 128
    hidden: int = 512
    layers: int = 2
    dropout: float = 0.5


class LanguageState(NamedTuple):
    """What the words so far have left behind: two tensors [units, beams, layers, hidden]."""

    hidden: Tensor
    cell: Tensor


class CaptionLanguageModel(nn.Module):
    """p(word | words before it).

    Names and shapes of the parameters are those of the published checkpoints.

    Args:
        vocabulary: its words.
        sizes: of its layers.
    """

    def __init__(self, vocabulary: Vocabulary, sizes: LanguageModelSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self._start = vocabulary.start
        self.embedding = nn.Embedding(len(vocabulary), sizes.embedding, padding_idx=vocabulary.pad)
        dropout = sizes.dropout if sizes.layers > 1 else 0.0
        self.lstm = nn.LSTM(
            sizes.embedding, sizes.hidden, sizes.layers, dropout=dropout, batch_first=True
        )
        self.output = nn.Sequential(nn.Linear(sizes.hidden, len(vocabulary)), nn.LogSoftmax(dim=-1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns log p of what follows each token, [n, length, vocabulary], for int64 [n, length]."""
        return self.output(self.lstm(self.embedding(tokens))[0])

    def begin(self, units: int) -> LanguageState:
        """Returns the state before the first word, with one beam."""
        zeros = self.output[0].weight.new_zeros(units, 1, self.sizes.layers, self.sizes.hidden)
        return LanguageState(zeros, zeros)

    def step(self, tokens: Tensor, state: LanguageState) -> tuple[Tensor, LanguageState]:
        """Reads one word, int64 [units, beams]; returns log p of the next and the new state."""
        layers_first = [part.flatten(0, 1).transpose(0, 1).contiguous() for part in state]
        seen, new = self.lstm(self.embedding(tokens.reshape(-1, 1)), tuple(layers_first))
        hidden, cell = (part.transpose(0, 1).unflatten(0, tokens.shape) for part in new)
        return self.output(seen[:, 0]).view(*tokens.shape, -1), LanguageState(hidden, cell)

    def log_probs(self, tokens: Tensor) -> Tensor:
        """Returns log p of each token given those before it, [n, length], for int64 [n, length].

        The tokens come without the start token.
        """
        start = torch.full_like(tokens[:, :1], self._start)
        seen, _ = self.lstm(self.embedding(torch.cat([start, tokens[:, :-1]], dim=1)))
        # Step by step: the probabilities of all words at all steps would be the largest tensor by far.
        found = [
            self.output(step).gather(1, token[:, None])
            for step, token in zip(seen.unbind(1), tokens.unbind(1), strict=True)
        ]
        return torch.cat(found, dim=1)
