"""The language model p(d) of captions d, independent of any unit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...harness.fixed_batches import in_blocks
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class LanguageModelSizes:
    """Sizes of a `CaptionLanguageModel`.

    Attributes:
        embedding: length of a word's embedding.
        hidden: length of a layer's state.
        layers: number of LSTM layers.
        dropout: share of a layer's output that is dropped before the next layer in training.
    """

    embedding: int = 128
    hidden: int = 512
    layers: int = 2
    dropout: float = 0.5


class CaptionLanguageModel(nn.Module):
    """Computes p(word | previous words).

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
        """Returns log p of the token after each token, [n, length, vocabulary], for int64 [n, length]."""
        return self.output(self.lstm(self.embedding(tokens))[0])

    def begin(self, n: int) -> tuple[Tensor, Tensor]:
        """Returns the initial hidden and cell state, both [n, layers, hidden]."""
        zeros = self.embedding.weight.new_zeros(n, self.sizes.layers, self.sizes.hidden)
        return zeros, zeros

    def read(self, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Processes one word, int64 [n], and predicts the next, row by row.

        Returns:
            log p of every word [n, vocabulary], the new hidden and the new cell.
        """
        # Rows first in this interface, so that states can be selected by row; layers first in torch's.
        state = hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous()
        outputs, (hidden, cell) = self.lstm(self.embedding(tokens)[:, None], state)
        return self.output(outputs[:, 0]), hidden.transpose(0, 1), cell.transpose(0, 1)

    def log_probs(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Returns log p of each token given the previous ones; 0 after a text's end.

        A prefix that several texts share, as the captions of one beam do, is processed once.

        Args:
            tokens: int64 [n, length], without the start token.
            lengths: int64 [n], number of tokens of each text.

        Returns:
            [n, length].
        """
        result = torch.zeros(tokens.shape, device=tokens.device)
        prefix = torch.zeros_like(lengths)  # index of each text's prefix among the distinct ones
        last, state = tokens.new_full((1,), self._start), self.begin(1)
        for position in range(tokens.shape[1]):
            present = lengths > position
            if not present.any():
                break
            log_probs, *state = in_blocks(self.read, last, *state)
            token = tokens[:, position]
            result[present, position] = log_probs[prefix[present], token[present]]
            # Longer prefixes: each pair of a prefix and its next token, numbered as one integer.
            longer = lengths > position + 1
            words = log_probs.shape[1]
            distinct, prefix[longer] = torch.unique(
                prefix[longer] * words + token[longer], return_inverse=True
            )
            last, state = distinct % words, [part[distinct // words] for part in state]
        return result
