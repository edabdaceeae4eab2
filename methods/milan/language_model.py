"""The language model: p(caption), whatever the unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...harness.fixed_blocks import in_blocks
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

    def begin(self, n: int) -> tuple[Tensor, Tensor]:
        """Returns hidden and cell before the first word, both [n, layers, hidden]."""
        zeros = self.embedding.weight.new_zeros(n, self.sizes.layers, self.sizes.hidden)
        return zeros, zeros

    def read(self, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reads one word, int64 [n], and predicts the next, row by row.

        Returns:
            log p of every word [n, vocabulary], the new hidden and the new cell.
        """
        layers_first = hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous()
        seen, (hidden, cell) = self.lstm(self.embedding(tokens)[:, None], layers_first)
        return self.output(seen[:, 0]), hidden.transpose(0, 1), cell.transpose(0, 1)

    def log_probs(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Returns log p of each token given those before it; 0 behind a text's end.

        Texts with the same beginning share it: it is read once.

        Args:
            tokens: int64 [n, length], without the start token.
            lengths: int64 [n], how many tokens each text has.

        Returns:
            [n, length].
        """
        found = torch.zeros(tokens.shape, device=tokens.device)
        beginning = torch.zeros_like(lengths)  # of each text, among the distinct ones
        last, state = tokens.new_full((1,), self._start), self.begin(1)
        for position in range(tokens.shape[1]):
            has = lengths > position
            if not has.any():
                break
            log_probs, *state = in_blocks(self.read, last, *state)
            token = tokens[:, position]
            found[has, position] = log_probs[beginning[has], token[has]]
            longer = lengths > position + 1
            words = log_probs.shape[1]
            distinct, beginning[longer] = torch.unique(
                beginning[longer] * words + token[longer], return_inverse=True
            )
            last, state = distinct % words, [part[distinct // words] for part in state]
        return found
