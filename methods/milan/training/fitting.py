"""The training loop: epochs, early stopping, and a state file to resume from after every epoch."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ....harness.devices import full_precision
from ....harness.errors import InputError
from ....harness.files import atomic_path
from ....harness.progress import Progress

log = logging.getLogger(__name__)


class Task(Protocol):
    """A network with its training loss and validation score."""

    @property
    def name(self) -> str:
        """Name of the network, for messages."""
        ...

    @property
    def network(self) -> nn.Module:
        """The network to train."""
        ...

    def __len__(self) -> int:
        """Number of training samples."""
        ...

    def loss(self, samples: Tensor) -> Tensor:
        """Returns the mean loss of some samples, given by their indices."""
        ...

    def score(self) -> float:
        """Returns the score on the units held out; higher is better."""
        ...


@dataclass(frozen=True)
class FitSettings:
    """Settings of the training of one network.

    Attributes:
        batch: samples per step.
        epochs: maximum number of epochs.
        patience: epochs in a row without a better score that are tolerated before training stops.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        seed: of the order of samples and of dropout.

    Raises:
        InputError: if a setting is out of range.
    """

    batch: int
    epochs: int = 100
    patience: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.batch, self.epochs) < 1 or self.learning_rate <= 0:
            raise InputError(
                f"batch={self.batch}, epochs={self.epochs}, learning_rate={self.learning_rate} must be "
                "positive"
            )
        if min(self.patience, self.weight_decay) < 0:
            raise InputError(
                f"patience={self.patience} and weight_decay={self.weight_decay} must not be negative"
            )


@dataclass(frozen=True)
class Epoch:
    """Results of an epoch.

    Attributes:
        loss: mean over its steps.
        score: on the units held out, at its end.
    """

    loss: float
    score: float


@dataclass
class _State:
    """State of a training; `best` is a copy of the weights, not a reference to those in training."""

    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    best: Mapping[str, Tensor]
    history: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """Number of the first epoch with the highest score; -1 before the first."""
        scores = [epoch.score for epoch in self.history]
        return int(np.argmax(scores)) if scores else -1

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - 1 - self.best_epoch


def fit(
    task: Task, settings: FitSettings, file: Path, key: str, *, progress: Progress | None = None
) -> tuple[Epoch, ...]:
    """Trains a network in place; leaves it with the weights of its best epoch, in evaluation mode.

    The same seed gives the same weights on the same machine, whether or not the training was
    interrupted: torch's generators are seeded anew for every epoch, and restored after it.

    Args:
        task: the network with its loss and score.
        settings: of the training.
        file: where the state is saved after every epoch, and read from to resume.
        key: identifies the training; a file with another key is rejected.
        progress: shows how many epochs are done.

    Returns:
        All epochs, including those before an interruption.

    Raises:
        InputError: if the file belongs to another training or is damaged, or the loss is not finite.
    """
    network = task.network
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = _load(file, key) or _State(_copy(network), optimizer.state_dict(), _copy(network))
    network.load_state_dict(state.network)
    optimizer.load_state_dict(dict(state.optimizer))
    with (progress or Progress("none")).task(f"training the {task.name}", settings.epochs) as advance:
        advance(len(state.history))
        while len(state.history) < settings.epochs and state.waited <= settings.patience:
            device = next(network.parameters()).device
            with full_precision(device), seeded(device, settings.seed, task.name, len(state.history)):
                loss = _epoch(task, optimizer, settings.batch)
            state.history.append(Epoch(loss, _score(task)))
            state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
            if state.waited == 0:
                state.best = _copy(network)
            _save(state, file, key)
            log.info("%s, epoch %d: %s", task.name, len(state.history), state.history[-1])
            advance()
    network.load_state_dict(state.best)
    network.eval()
    return tuple(state.history)


def _epoch(task: Task, optimizer: torch.optim.Optimizer, batch: int) -> float:
    """Trains on all samples once, in random order; returns the mean loss."""
    task.network.train()
    losses = []
    for samples in torch.randperm(len(task)).split(batch):
        optimizer.zero_grad()
        loss = task.loss(samples)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    mean = float(np.mean(losses))
    if not np.isfinite(mean):
        raise InputError(f"the loss of the {task.name} is no longer finite", "use a lower learning rate")
    return mean


def _score(task: Task) -> float:
    task.network.eval()
    with torch.inference_mode():
        return float(task.score())


@contextmanager
def seeded(device: torch.device, seed: int, *purpose: str | int) -> Iterator[None]:
    """Seeds torch's generators for a purpose; restores their state on exit."""
    # The names of the purpose enter the seed byte by byte, each closed by "/": "a", "b" is not "ab".
    entropy = [seed, *(byte for part in purpose for byte in str(part).encode() + b"/")]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed_64 = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
        torch.manual_seed(seed_64 >> 1)  # torch accepts signed 64-bit seeds
        yield


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _save(state: _State, file: Path, key: str) -> None:
    content = {
        "key": key,
        "network": dict(state.network),
        "optimizer": dict(state.optimizer),
        "best": dict(state.best),
        "history": [asdict(epoch) for epoch in state.history],
    }
    with atomic_path(file) as temporary:
        torch.save(content, temporary)


def _load(file: Path, key: str) -> _State | None:
    if not file.is_file():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        history = [Epoch(**epoch) for epoch in content["history"]]
        saved_key = content.pop("key")
        state = _State(content["network"], content["optimizer"], content["best"], history)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}", "remove it to restart training") from error
    if saved_key != key:
        raise InputError(
            f"{file} belongs to a training with other data or settings",
            "choose another folder, or remove the file to restart training",
        )
    return state
