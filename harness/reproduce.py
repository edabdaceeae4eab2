"""The models of text metrics for published tables: those of the authors, or packaged ones instead."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..results.reproduce.published_files import NotComputable
from .config import build, compose
from .errors import InputError
from .weights import local_files_only

if TYPE_CHECKING:
    from ..metrics.pairs import Pair, PairMetric

# What replaces a metric where its model is not available. Every cosine has the same substitute.
OFFLINE = {
    "clip_cosine": "minilm_cosine",
    "mpnet_cosine": "minilm_cosine",
    "bertscore_f1": "minilm_bertscore_f1",
}
OFFLINE_NAME = "all-MiniLM-L6-v2"


class MetricScorer:
    """Scores pairs of texts by the metrics of the configuration; a scored pair is not scored again.

    Args:
        instead: by metric, the one to use instead; other metrics are not available then.
        download: whether models may be downloaded; otherwise only local ones are used.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    def __init__(
        self,
        instead: Mapping[str, str] | None = None,
        *,
        download: bool = False,
        device: str = "auto",
    ) -> None:
        self._instead = instead
        self._download, self._device = download, device
        self._metrics: dict[str, PairMetric | InputError] = {}
        self._scored: dict[tuple[str, Pair], float] = {}

    def available(self, metric: str) -> bool:
        """Returns whether the model of a metric can be used.

        Raises:
            InputError: if there is no such metric.
        """
        return not isinstance(self._metric(metric), InputError)

    def check(self, metric: str) -> None:
        """Raises InputError, which says what to install, if the model of a metric cannot be used."""
        built = self._metric(metric)
        if isinstance(built, InputError):
            raise built

    def model(self, metric: str) -> str:
        """Returns the name of the model that a metric uses, or the metric's if it uses none."""
        return ", ".join(self._require(metric).models().values()) or metric

    def identity(self, metric: str) -> str:
        """Returns the fingerprint of a metric's model, with its commit if it is from the Hub."""
        return str(self._require(metric).identity().get("fingerprint", "no model"))

    def scores(self, metric: str, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Returns [n], one score per (description, reference).

        Raises:
            NotComputable: if the model is not available.
        """
        scorer = self._require(metric)
        new = [pair for pair in dict.fromkeys(pairs) if (scorer.name, pair) not in self._scored]
        if new:
            # `score_pairs` accepts a single space, which is one of the characters of a text.
            for pair, score in zip(new, scorer.score_pairs(new), strict=True):
                self._scored[scorer.name, pair] = float(score)
        return np.array([self._scored[scorer.name, pair] for pair in pairs])

    def _require(self, metric: str) -> PairMetric:
        built = self._metric(metric)
        if isinstance(built, InputError):
            raise NotComputable(built.message)
        return built

    def _metric(self, metric: str) -> PairMetric | InputError:
        name = metric if self._instead is None else self._instead.get(metric)
        if name is None:
            return InputError(f"{metric} has no substitute")
        if name not in self._metrics:
            self._metrics[name] = self._load(name)
        return self._metrics[name]

    def _load(self, name: str) -> PairMetric | InputError:
        """Returns a metric, or the error if its model is not available."""
        config = compose([f"metric=[{name}]", f"device={self._device}"], root="score").config
        metric: PairMetric = build(config.metric[name], f"metric={name}")
        try:
            with contextlib.nullcontext() if self._download else local_files_only():
                # Weights are loaded on first use: building alone does not notice that they are missing.
                metric.score_pairs([("a red boat", "a boat")])
        except InputError as error:
            return error
        return metric
