"""Embeds the descriptions of runs by the sentence encoder of a run's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .cache import Cache
from .config import build
from .errors import InputError
from .files import fingerprint
from .finished_run import FinishedRun

if TYPE_CHECKING:
    from ..results.report.sentences import Sentences
    from .foundation.protocols import SentenceEncoder


def description_sentences(runs: Sequence[FinishedRun]) -> Sentences:
    """Returns the embeddings of all descriptions of runs, by an encoder of the first run's metrics.

    The encoder is the first one whose files are available without a network; metrics that scored the run
    are asked first. It is not loaded where the embeddings are in the cache. Without an encoder there are
    no embeddings, and `missing` says why.
    """
    from ..results.report.sentences import Sentences
    from .weights import local_files_only

    run = runs[0]
    texts = sorted({d.text for one in runs for d in one.records if d.text is not None})
    if not texts:
        return Sentences(missing="There are no descriptions to compare.")
    missing = Sentences().missing
    cache = Cache(run.path.resolve().parent / ".cache")
    try:
        for metric, encoder in _encoders(run):
            try:
                with local_files_only():
                    key = {"encoder": encoder.fingerprint(), "texts": fingerprint(texts)}
                    vectors = cache.array(
                        "sentence_embeddings", key, lambda encoder=encoder: encoder.encode(texts)
                    )
            except InputError as error:
                missing = f"The sentence encoder of {metric} is not available: {error.message}."
                continue
            return Sentences.of(encoder.name, texts, vectors)
    except InputError as error:
        missing = f"The sentence encoder of the run is not available: {error.message}."
    return Sentences(missing=missing)


def _encoders(run: FinishedRun) -> Iterator[tuple[str, SentenceEncoder]]:
    """Yields the sentence encoders of the metrics of a run with the names of the metrics.

    Raises:
        InputError: if the settings are missing, or a component cannot be built any more.
    """
    from ..metrics.cosine import SentenceCosine
    from .foundation.protocols import SentenceEncoder

    nodes = run.settings.get("metric") or {}
    for name in sorted(nodes, key=lambda name: name not in run.metrics):  # stable
        metric = build(nodes[name], f"metric.{name}")
        if isinstance(metric, SentenceCosine) and isinstance(metric.encoder, SentenceEncoder):
            yield str(name), metric.encoder
