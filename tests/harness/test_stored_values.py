"""The stored values of a finished run are found again without its target."""

import shutil

import numpy as np
import pytest
from PIL import Image

from dissectbench.harness.activations.stored_values import stored_images, stored_values
from dissectbench.harness.config import compose
from dissectbench.harness.errors import InputError
from dissectbench.harness.finished_run import FinishedRun
from dissectbench.harness.parts import assemble
from dissectbench.harness.progress import Progress
from dissectbench.harness.run import activations, execute, run


def settings(photos, name, *more):
    return compose(
        [
            *(f"name={name}", "target=tinyworld", "probe=imagefolder", f"probe.root={photos}"),
            *("device=cpu", "layers=[layer4,fc]", "method=[network_dissection]", "final_layer=null"),
            *("allow_tinyworld=[target]", "table.resamples=50", "units=2", *more),
        ]
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """12 images, one of which is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("duck", "goose"):
        (folder / name).mkdir()
        for number in range(6):
            pixels = rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "duck" / "3.png").write_bytes(b"not an image")
    return folder


@pytest.mark.parametrize(
    "more", [[], ["activations.pool=max"], ["activations.keep_maps=float16"]], ids=["mean", "max", "kept"]
)
def test_values_and_images_are_those_of_the_run(photos, tmp_path, more):
    parts = assemble(settings(photos, "photos", "activations.on_error=skip", *more))
    finished = execute(parts, runs=tmp_path)
    # A second run, pooled in the other way: each finds its own values.
    other = "mean" if "activations.pool=max" in more else "max"
    run(
        settings(photos, "other", "activations.on_error=skip", f"activations.pool={other}"), runs=tmp_path
    )
    layers = activations(parts.taps, parts.probe, parts.activation_settings, tmp_path, Progress("none"))
    for name, layer in layers.items():
        found = stored_values(finished, name)
        np.testing.assert_array_equal(found.values, layer.values)
        images = stored_images(finished, found)
        assert len(images) == 11
        for unit in (0, 5):
            ours, expected = found.exemplars(unit, 3), layer.exemplars(unit, 3)
            np.testing.assert_array_equal(ours.indices, expected.indices)
            np.testing.assert_array_equal(ours.values, expected.values)
            assert ours.dead == expected.dead
        assert [images.locate(index) for index in range(11)] == [
            layer.probe.locate(index) for index in range(11)
        ]


def test_what_is_gone_is_named(photos, tmp_path):
    copied = shutil.copytree(photos, tmp_path / "photos")
    finished = run(settings(copied, "photos", "activations.on_error=skip"), runs=tmp_path / "runs")
    with pytest.raises(InputError, match="did you mean layer4"):
        stored_values(finished, "layer3")
    found = stored_values(finished, "fc")
    (copied / "goose" / "0.png").unlink()
    with pytest.raises(InputError, match="have changed since the run"):
        stored_images(finished, found)
    shutil.rmtree(copied)
    with pytest.raises(InputError, match="no such folder"):
        stored_images(finished, found)
    shutil.rmtree(tmp_path / "runs" / ".activations")
    with pytest.raises(InputError, match=r"activations of layer fc .* are not in") as raised:
        stored_values(finished, "fc")
    assert "rerun the command" in str(raised.value)


def test_damaged_and_unfinished_layers_of_the_store_are_passed_over(photos, tmp_path):
    finished = run(settings(photos, "photos", "activations.on_error=skip"), runs=tmp_path)
    store = tmp_path / ".activations"
    [layer, *_] = [path.parent for path in store.glob("*/manifest.json")]
    shutil.copytree(layer, store / "unfinished.part")
    (store / "damaged").mkdir()
    (store / "damaged" / "manifest.json").write_text("{")
    assert stored_values(finished, "fc").values.shape[0] == 11


def test_images_given_in_python_are_not_part_of_the_run(repository, tmp_path):
    folder = shutil.copytree(repository / "tests/fixtures/run_format_1", tmp_path / "run")
    config = (folder / "config.yaml").read_text()
    start, end = config.index("probe:"), config.index("concepts:")
    (folder / "config.yaml").write_text(config[:start] + config[end:])
    from dissectbench.harness.activations.stored_values import StoredValues

    with pytest.raises(InputError, match="given in Python"):
        stored_images(FinishedRun(folder), StoredValues("fc", np.zeros((1, 1), np.float32), np.arange(1)))
