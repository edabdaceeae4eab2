"""The network that turns a unit's exemplars into words: an LSTM that attends to them one by one.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of an `AttentionDecoder`.

    Attributes:
        vocabulary: words and special tokens.
        feature: length of the vector that the encoder makes of one exemplar.
        embedding: length of a word's vector.
        hidden: length of the LSTM's state.
        attention: length of the vectors that are compared to choose an exemplar.
        dropout: share of the state that training hides from the output layer.
    """

    vocabulary: int
    feature: int
    embedding: int = 128
    hidden: int = 512
    attention: int = 512
    dropout: float = 0.5


class Memory(NamedTuple):
    """What stays the same while a caption is written.

    Attributes:
        features: [units, k, feature], the exemplars.
        keys: [units, k, attention], what they are found by.
    """

    features: Tensor
    keys: Tensor


class State(NamedTuple):
    """What the words so far have left behind: `hidden` and `cell`, both [units, beams, hidden]."""

    hidden: Tensor
    cell: Tensor


class Attention(nn.Module):
    """Additive attention: weights of the exemplars are softmax_i(w . tanh(W_q h + W_k v_i) + b)."""

    def __init__(self, query: int, key: int, hidden: int) -> None:
        super().__init__()
        self.query_to_hidden = nn.Linear(query, hidden)
        self.key_to_hidden = nn.Linear(key, hidden)
        self.output = nn.Sequential(nn.Linear(hidden, 1), nn.Softmax(dim=-2))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Returns [units, beams, k] for queries [units, beams, query] and the keys of a `Memory`."""
        hidden = self.query_to_hidden(queries)[:, :, None] + keys[:, None]
        return self.output(hidden.tanh_())[..., 0]


class AttentionDecoder(nn.Module):
    """p(word | words before it, exemplars).

    Names and shapes of the parameters are those of the published checkpoints.

    Args:
        sizes: of its layers.
    """

    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        feature, hidden = sizes.feature, sizes.hidden
        self.init_h = nn.Sequential(nn.Linear(feature, hidden), nn.Tanh())
        self.init_c = nn.Sequential(nn.Linear(feature, hidden), nn.Tanh())
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.embedding)
        self.attend = Attention(hidden, feature, sizes.attention)
        self.feature_gate = nn.Sequential(nn.Linear(hidden, feature), nn.Sigmoid())
        self.lstm = nn.LSTMCell(sizes.embedding + feature, hidden)
        self.output = nn.Sequential(
            nn.Dropout(sizes.dropout), nn.Linear(hidden, sizes.vocabulary), nn.LogSoftmax(dim=-1)
        )

    def begin(self, features: Tensor) -> tuple[Memory, State]:
        """Returns what a caption starts from, with one beam, for `features` [units, k, feature]."""
        mean = features.mean(dim=1, keepdim=True)
        memory = Memory(features, self.attend.key_to_hidden(features))
        return memory, State(self.init_h(mean), self.init_c(mean))

    def look(self, memory: Memory, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what is seen of the exemplars, [units, beams, feature], and their weights.

        Args:
            memory: the exemplars.
            hidden: [units, beams, hidden].
        """
        weights = self.attend(hidden, memory.keys)
        return weights @ memory.features, weights

    def read(
        self, tokens: Tensor, seen: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reads one word and predicts the next, row by row.

        Args:
            tokens: int64 [n], the words before.
            seen: [n, feature], what `look` gave for `hidden`.
            hidden: [n, hidden].
            cell: [n, hidden].

        Returns:
            log p of every word [n, vocabulary], the new hidden and the new cell.
        """
        inputs = torch.cat([self.embedding(tokens), self.feature_gate(hidden) * seen], dim=1)
        hidden, cell = self.lstm(inputs, (hidden, cell))
        return self.output(hidden), hidden, cell

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts every word of given texts from the true words before it.

        Args:
            features: [n, k, feature].
            tokens: int64 [n, length], beginning with the start token.

        Returns:
            log p of what follows each token [n, length, vocabulary]; the weights of the exemplars at
            each step [n, length, k].
        """
        memory, state = self.begin(features)
        hidden, cell = state.hidden[:, 0], state.cell[:, 0]
        predictions, attended = [], []
        for words in tokens.unbind(dim=1):
            seen, weights = self.look(memory, hidden[:, None])
            predicted, hidden, cell = self.read(words, seen[:, 0], hidden, cell)
            predictions.append(predicted)
            attended.append(weights[:, 0])
        return torch.stack(predictions, dim=1), torch.stack(attended, dim=1)
