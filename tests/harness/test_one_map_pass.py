"""A run shows each image to the target at most twice and decodes each annotation once."""

import sys
from collections import Counter
from typing import Any

import pytest

from dissectbench.harness.config import compose
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.parts import assemble
from dissectbench.harness.report import report_run
from dissectbench.harness.run import execute
from dissectbench.harness.targets.layers import Taps

IMAGES = 96
SETTINGS = [
    *(
        "experiment=demo",
        f"probe.images={IMAGES}",
        "layers=[layer1,layer2,layer3,layer4,fc]",
        "units=3",
        "device=cpu",
    ),
    *("metric=[]", "final_layer=null"),
]
METHODS = [
    "method=[network_dissection,milan_tinyworld,describe_and_dissect]",
    "method.describe_and_dissect.scoring.enabled=false",
]


class Counts:
    """Counts the images that the target processes, and the annotations that are read before the report.

    The report reads the annotations of the images that it shows again.
    """

    def __init__(self, parts: Any, patch: pytest.MonkeyPatch) -> None:
        self.shown: Counter[bytes] = Counter()
        self.annotations: Counter[int] = Counter()
        read, of = Taps.read, parts.probe.annotations.of

        def counted_read(taps, batch):
            self.shown.update(row.numpy().tobytes() for row in batch if row.any())
            return read(taps, batch)

        def counted_of(index):
            self.annotations[index] += 1
            return of(index)

        def uncounted_report(*arguments, **settings):
            before = self.annotations.copy()
            report = report_run(*arguments, **settings)
            self.annotations = before
            return report

        patch.setattr(Taps, "read", counted_read)
        # By its name: `dissectbench.harness.run` is also the function.
        patch.setattr(sys.modules["dissectbench.harness.run"], "report_run", uncounted_report)
        patch.setattr(parts.probe.annotations, "of", counted_of)

    def times_shown(self, parts: Any) -> set[int]:
        """How often each image of the probing set was shown."""
        images = (parts.probe.image(index) for index in range(len(parts.probe)))
        return {self.shown[parts.target.preprocess(image).numpy().tobytes()] for image in images}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.mark.usefixtures("home")
def test_five_layers_and_three_methods_show_each_image_twice(tmp_path, monkeypatch):
    parts = assemble(compose([*SETTINGS, *METHODS]))
    counts = Counts(parts, monkeypatch)
    execute(parts, runs=tmp_path)
    assert counts.times_shown(parts) == {2}
    assert counts.annotations == Counter(range(IMAGES))
    crops = sum(counts.shown.values()) - 2 * IMAGES
    # The second pass is where Network Dissection spends its time.
    spent = FinishedRun(tmp_path / "tinyworld-resnet-tinyworld").spent
    assert all(s.seconds > 1e-4 for (_, method), s in spent.items() if method == "network_dissection")

    again = assemble(compose([*SETTINGS, *METHODS, "name=again", "units=2"]))
    counts = Counts(again, monkeypatch)
    execute(again, runs=tmp_path)
    assert counts.times_shown(again) == {0}
    assert not counts.annotations
    assert 0 < sum(counts.shown.values()) < crops  # of Describe-and-Dissect: crops are not stored


@pytest.mark.usefixtures("home")
def test_records_do_not_depend_on_the_methods_that_share_the_pass(tmp_path):
    def texts(name, methods, *settings):
        chosen = [*SETTINGS, f"method=[{methods}]", "layers=[layer3,fc]", f"name={name}", *settings]
        return {
            (record.unit, record.method): record.to_json()
            for record in execute(assemble(compose(chosen)), runs=tmp_path / name).records
        }

    methods = "network_dissection,milan_tinyworld"
    together = texts("together", methods)
    alone = {}
    for method in methods.split(","):
        kept = "activations.workers=2" if method == "network_dissection" else "activations.workers=0"
        alone |= texts(method, method, kept, "activations.batch_size=5")
    assert together == alone
