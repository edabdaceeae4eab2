"""The decoder network: an LSTM that attends to a unit's exemplars and predicts words.

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
        feature: length of the encoder's feature vector of one exemplar.
        embedding: length of a word's embedding.
        hidden: length of the LSTM's state.
        attention: length of the vectors that the attention compares.
        dropout: share of the state that is dropped before the output layer in training.
    """

    vocabulary: int
    feature: int
    embedding: int = 128
    hidden: int = 512
    attention: int = 512
    dropout: float = 0.5


class Memory(NamedTuple):
    """The exemplars, as the attention uses them at every word of a caption.

    Attributes:
        features: [units, count, feature], their feature vectors.
        keys: [units, count, attention], projected features, computed once per unit.
    """

    features: Tensor
    keys: Tensor


class State(NamedTuple):
    """State of the LSTM: `hidden` and `cell`, both [units, beams, hidden]."""

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
        """Returns weights [units, beams, count] for queries [units, beams, query] and a memory's keys."""
        hidden = self.query_to_hidden(queries)[:, :, None] + keys[:, None]
        # In place: `hidden` [units, beams, count, attention] is the largest tensor of the search.
        return self.output(hidden.tanh_())[..., 0]


class AttentionDecoder(nn.Module):
    """Computes p(word | previous words, exemplars).

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
        """Returns memory and initial state, with one beam, for `features` [units, count, feature]."""
        mean = features.mean(dim=1, keepdim=True)
        memory = Memory(features, self.attend.key_to_hidden(features))
        return memory, State(self.init_h(mean), self.init_c(mean))

    def look(self, memory: Memory, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the attended features, [units, beams, feature], and the weights of the exemplars.

        Args:
            memory: the exemplars.
            hidden: [units, beams, hidden].
        """
        weights = self.attend(hidden, memory.keys)
        return weights @ memory.features, weights

    def read(
        self, tokens: Tensor, attended: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Processes one word and predicts the next, row by row.

        Args:
            tokens: int64 [n], the previous words.
            attended: [n, feature], the result of `look` for `hidden`.
            hidden: [n, hidden].
            cell: [n, hidden].

        Returns:
            log p of every word [n, vocabulary], the new hidden and the new cell.
        """
        inputs = torch.cat([self.embedding(tokens), self.feature_gate(hidden) * attended], dim=1)
        hidden, cell = self.lstm(inputs, (hidden, cell))
        return self.output(hidden), hidden, cell

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts every word of texts from the true words before it (teacher forcing).

        Args:
            features: [n, count, feature].
            tokens: int64 [n, length], beginning with the start token.

        Returns:
            log p of the token after each token [n, length, vocabulary]; the weights of the exemplars at
            each step [n, length, count].
        """
        memory, state = self.begin(features)
        hidden, cell = state.hidden[:, 0], state.cell[:, 0]
        predictions, all_weights = [], []
        for words in tokens.unbind(dim=1):
            attended, weights = self.look(memory, hidden[:, None])
            predicted, hidden, cell = self.read(words, attended[:, 0], hidden, cell)
            predictions.append(predicted)
            all_weights.append(weights[:, 0])
        return torch.stack(predictions, dim=1), torch.stack(all_weights, dim=1)
