"""The training loop: epochs, early stopping, and a file after every epoch to go on from."""

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
    """A network and what it learns."""

    @property
    def name(self) -> str:
        """What is trained, in words."""
        ...

    @property
    def network(self) -> nn.Module:
        """What learns."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def loss(self, samples: Tensor) -> Tensor:
        """Returns the mean loss of some samples, given by their indices."""
        ...

    def score(self) -> float:
        """Returns how good the network is at what was held out; higher is better."""
        ...


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained.

    Attributes:
        batch: samples per step.
        epochs: at most so many.
        patience: training ends with the first epoch beyond so many in a row without a better score.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        seed: of the order of samples and of dropout.
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
    """What an epoch came to.

    Attributes:
        loss: mean over its steps.
        score: of what was held out, after it.
    """

    loss: float
    score: float


@dataclass
class _State:
    """Where a training stands; `best` are weights of their own, not those that go on learning."""

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
        """Epochs since then."""
        return len(self.history) - 1 - self.best_epoch


def fit(
    task: Task, settings: FitSettings, file: Path, key: str, *, progress: Progress | None = None
) -> tuple[Epoch, ...]:
    """Trains a network, in place; it ends with the weights of its best epoch, in evaluation mode.

    The same seed gives the same weights on the same machine, whether or not the training was
    interrupted: every epoch draws from generators of its own. The global ones are left as they are.

    Args:
        task: the network and what it learns.
        settings: of the training.
        file: where the training is kept after every epoch, and taken up again.
        key: names what is trained; another one in the file is refused.
        progress: shows how many epochs are done.

    Returns:
        All epochs, those of earlier attempts included.

    Raises:
        InputError: if the file holds another training or is damaged, or the loss is not finite.
    """
    network = task.network
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = _load(file, key) or _State(_copy(network), optimizer.state_dict(), _copy(network))
    network.load_state_dict(state.network)
    optimizer.load_state_dict(dict(state.optimizer))
    with (progress or Progress("none")).task(f"training the {task.name}", settings.epochs) as step:
        step(len(state.history))
        while len(state.history) < settings.epochs and state.waited <= settings.patience:
            here = _device(network)
            with full_precision(here), seeded(here, settings.seed, task.name, len(state.history)):
                loss = _epoch(task, optimizer, settings.batch)
            state.history.append(Epoch(loss, _score(task)))
            state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
            if state.waited == 0:
                state.best = _copy(network)
            _save(state, file, key)
            log.info("%s, epoch %d: %s", task.name, len(state.history), state.history[-1])
            step()
    network.load_state_dict(state.best)
    network.eval()
    return tuple(state.history)


def _epoch(task: Task, optimizer: torch.optim.Optimizer, batch: int) -> float:
    """Goes once through all samples, in random order; returns the mean loss."""
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
        raise InputError(f"the loss of the {task.name} is not finite any more", "lower the learning rate")
    return mean


def _score(task: Task) -> float:
    task.network.eval()
    with torch.inference_mode():
        return float(task.score())


@contextmanager
def seeded(device: torch.device, seed: int, *purpose: str | int) -> Iterator[None]:
    """Seeds torch's generators for a purpose, and leaves them afterwards as they were."""
    entropy = [seed, *(byte for part in purpose for byte in str(part).encode() + b"/")]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)
        yield


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


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
        found = content.pop("key")
        state = _State(content["network"], content["optimizer"], content["best"], history)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}", "remove it to train from the start") from error
    if found != key:
        raise InputError(
            f"{file} holds a training with other data or settings",
            "choose another folder, or remove it to train from the start",
        )
    return state
