"""Tests the images of the evidence: read from what methods stored, with the masks that they counted."""

import io
import re
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.probing_set import ImageAnnotation
from dissectbench.harness import FinishedRun
from dissectbench.harness.cli import main
from dissectbench.harness.foundation.embeddings import image_embeddings, text_embeddings
from dissectbench.harness.illustrations import EvidenceImage, Illustration, Mask
from dissectbench.harness.probe import Region
from dissectbench.harness.report import open_layers, report_run, run_images
from dissectbench.harness.report_evidence import illustrate, open_methods
from dissectbench.harness.report_thumbnails import Thumbnails
from dissectbench.methods import Method
from dissectbench.methods.milan.exemplars import stream_exemplars, top_images
from dissectbench.methods.network_dissection.overlaps import extent, label_pixels, overlaps
from dissectbench.methods.upsample import Upsampling, grid

IMAGES = 96
METHODS = ("network_dissection", "clip_dissect", "milan_tinyworld", "describe_and_dissect")
RUN = [
    *("run", "name=small", f"probe.images={IMAGES}", "layers=[layer3,fc]", "units=3", "device=cpu"),
    *(f"method=[{','.join(METHODS)}]", "metric=[]", "final_layer=null"),
    *("method.describe_and_dissect.synthetic_images.count=4", "+method.clip_dissect.top_k=20"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        assert main([*RUN, "--runs", str(folder)]) == 0
        yield FinishedRun(folder / "small")


@pytest.fixture(scope="module")
def layers(run):
    return open_layers(run)


@pytest.fixture(scope="module")
def methods(run):
    return {method.name: method for method in open_methods(run)}


def records(run, method, layer="layer3"):
    return [r for r in run.records if (r.method, r.unit.layer) == (method, layer)]


def illustrations(run, methods, layers, method, layer="layer3"):
    """The illustrations of each described unit, with its record."""
    of_method = records(run, method, layer)
    by_unit = {record.unit.index: (record, []) for record in of_method}
    for unit, illustration in methods[method].illustrations(layers[layer], of_method):
        by_unit[unit][1].append(illustration)
    return list(by_unit.values())


@pytest.mark.parametrize("name", ["layer3", "fc"])
def test_masks_and_labels_add_up_to_the_tally_of_network_dissection(run, layers, methods, name):
    layer, method = layers[name], methods["network_dissection"]
    of_method = records(run, method.name, name)
    units = [record.unit.index for record in of_method]
    numbers = range(1, len(layer.probe.annotations.labels) + 1)
    everywhere = np.tile(np.arange(IMAGES), (len(units), 1))
    thresholds = np.array([record.evidence["threshold"] for record in of_method])
    tally = method.tally(layer, units)
    shared = np.zeros_like(tally.intersection_unique)
    masks: dict[tuple[int, int], int] = {}
    for row, number, overlap in overlaps(
        layer, units, everywhere, [numbers] * len(units), thresholds, method.settings.upsampling
    ):
        assert overlap.shared == (overlap.unit & overlap.label).sum() > 0
        assert overlap.extent == (0, 0, 1, 1)
        shared[row, number] += overlap.shared
        masks[row, overlap.image] = int(overlap.unit.sum())
    assert np.array_equal(shared[:, 1:], tally.intersection_unique[:, 1:])
    # Every image has a label of all its pixels, the scene, so every mask overlaps a label.
    activation = [
        sum(n for (of_row, _), n in masks.items() if of_row == row) for row in range(len(units))
    ]
    assert activation == tally.activation.tolist()


def test_a_mask_is_drawn_on_the_part_of_the_image_that_the_target_saw():
    annotation = ImageAnnotation((4, 8), np.zeros((0, 4, 8), np.int32), (1,))
    region = Region(left=0.25, top=-0.5, right=0.75, bottom=1.5)  # cropped at the sides, padded above
    over = grid(annotation.shape, (2, 2), region, Upsampling())
    left, top, right, bottom = extent(over.window, annotation.shape, region)
    assert (left, right) == (0, 1)
    assert (top, bottom) == (0.25, 0.75)
    assert label_pixels(annotation, 1, over.window).shape == over.shape == (4, 4)


def test_network_dissection_shows_the_largest_overlaps_of_the_strongest_images(run, layers, methods):
    layer = layers["layer3"]
    for record, shown in illustrations(run, methods, layers, "network_dissection"):
        categories = record.evidence["categories"]
        assert len(shown) == len(categories)
        assert shown[0].title.startswith("Best label: ")
        assert f"IoU {record.evidence['iou']:.3f}" in shown[0].title
        strongest = np.argsort(-layer.maxima[:, record.unit.index], kind="stable")[:24].tolist()
        assert shown[0].images
        shared = []
        for image in shown[0].images:
            label, unit = image.masks
            assert (label.kind, unit.kind) == ("label", "unit")
            assert image.source in strongest
            assert image.value == layer.values[image.source, record.unit.index]
            shared.append((unit.pixels & label.pixels).sum())
        assert shared == sorted(shared, reverse=True)


def test_clip_dissect_shows_the_images_with_the_highest_cosines(run, layers, methods):
    layer, method = layers["layer3"], methods["clip_dissect"]
    images = image_embeddings(method.encoder, layer.probe, layer.cache)
    texts = text_embeddings(method.encoder, method.concepts.words, layer.cache)
    for record, shown in illustrations(run, methods, layers, "clip_dissect"):
        for candidate, illustration in zip(record.candidates, shown, strict=False):
            assert candidate.text in illustration.title
            cosines = images @ texts[method.concepts.words.index(candidate.text)]
            expected = np.argsort(-cosines, kind="stable")[:4].tolist()
            assert [image.source for image in illustration.images] == expected
            assert illustration.images[0].caption == f"cosine {cosines.max():.3f}"


def test_milan_shows_the_masks_that_it_encoded(run, layers, methods):
    layer, method = layers["layer3"], methods["milan_tinyworld"]
    found = illustrations(run, methods, layers, "milan_tinyworld")
    units = [record.unit.index for record, _ in found]
    top = top_images(layer, units, method.exemplars.count)
    encoded = {
        (row, rank): (exemplar.index, mask)
        for exemplar in stream_exemplars(layer, top, method.exemplars)
        for row, rank, mask in zip(exemplar.rows, exemplar.ranks, exemplar.masks, strict=True)
    }
    for row, (_, [illustration]) in enumerate(found):
        for rank, image in enumerate(illustration.images):
            index, mask = encoded[row, rank]
            assert image.source == index
            assert image.box is None
            assert [shape.kind for shape in image.masks] == ["visible"]
            assert np.array_equal(image.masks[0].pixels, mask)


def test_describe_and_dissect_shows_crops_with_captions_and_candidates_with_responses(
    run, layers, methods
):
    layer = layers["layer3"]
    for record, shown in illustrations(run, methods, layers, "describe_and_dissect"):
        captioned = [image for image in record.evidence["images"] if "caption" in image]
        assert [image.caption for image in shown[0].images] == [i["caption"] for i in captioned]
        assert [image.value for image in shown[0].images] == [i["response"] for i in captioned]
        boxes = [image.box for image in shown[0].images if image.box != (0, 0, 1, 1)]
        assert boxes == [tuple(i["box"]) for i in captioned if i["box"]]
        for candidate, illustration in zip(record.candidates, shown[1:], strict=False):
            assert candidate.text in illustration.title
            responses = candidate.details["responses"]
            assert len(illustration.images) > 0
            assert [image.value for image in illustration.images] == sorted(responses, reverse=True)[
                : len(illustration.images)
            ]
            for image in illustration.images:
                # The target responds to the stored file as the record says.
                response = layer.respond([Image.open(image.source)])[0, record.unit.index]
                assert response == image.value


def test_the_page_has_the_evidence_of_every_method_and_is_the_same_later(run):
    page = run.path / "report" / "index.html"
    before = page.read_text()
    for part in ("Best label: ", "Concept 1: ", "Exemplars with their masks", "Candidate 1: "):
        assert part in before
    assert all(f'class=\\"mask-{kind}\\"' in before for kind in ("unit", "label", "visible"))
    report_run(FinishedRun(run.path))
    assert page.read_text() == before


def test_what_is_no_longer_stored_is_named_and_nothing_is_computed(run, tmp_path, monkeypatch):
    copy = shutil.copytree(run.path.parent, tmp_path / "runs")
    for kind in ("images", "image_embeddings"):
        shutil.rmtree(copy / ".cache" / kind)
    again = FinishedRun(copy / "small")
    methods: dict[str, Any] = {method.name: method for method in open_methods(again)}
    for kind in ("encode_images", "encode_texts"):
        monkeypatch.setattr(type(methods["clip_dissect"].encoder), kind, None)
    images = run_images(again, open_layers(again), methods=list(methods.values()))
    assert images.notes == ()
    for of_unit in images.units.values():
        [concepts] = of_unit.evidence["clip_dissect"]
        assert concepts.note == "The embeddings of the images or concepts are no longer in the cache."
        candidate = of_unit.evidence["describe_and_dissect"][1]
        assert candidate.images == ()
        assert "4 images are no longer in the cache." in candidate.note
    assert not (copy / ".cache" / "images").exists()


def test_records_of_earlier_versions_have_no_responses_and_the_page_says_so(run, layers, methods):
    [record, *_] = records(run, "describe_and_dissect")
    first = record.candidates[0].details
    responses = first.pop("responses")
    try:
        [_, (_, candidate), *_] = methods["describe_and_dissect"].illustrations(
            layers["layer3"], [record]
        )
    finally:
        first["responses"] = responses
    assert "does not have the responses" in candidate.note
    assert all(image.value is None for image in candidate.images)


class Halves(Method):
    """Illustrates each unit by one image, whose left half is its mask."""

    name = "clip_dissect"

    def __init__(self, fails=False):
        self.fails = fails

    def describe(self, layer, units):
        raise NotImplementedError

    def illustrations(self, layer, records):
        for record in records:
            half = Mask(np.array([[True, False]]), "unit", (0.25, 0.0, 0.75, 1.0))
            yield record.unit.index, Illustration("Half", (EvidenceImage(0, "<b>", 1e9, masks=(half,)),))
            if self.fails:
                raise RuntimeError("out of ideas")


def test_a_method_of_a_user_illustrates_and_its_errors_are_notes(run, layers):
    layer, units = layers["layer3"], {r.unit.index: (0.0, 2.0) for r in records(run, "clip_dissect")}
    thumbnails = Thumbnails()
    shown, notes = illustrate(run, [Halves()], layer, units, thumbnails)
    assert shown.keys() == units.keys()
    assert notes == []
    assert len(thumbnails.files) == 1
    [half] = shown[min(units)]["clip_dissect"]
    [image] = half.images
    assert (image.caption, image.value, image.share) == ("<b>", 1e9, 1.0)
    assert [(mask.path, mask.view_box) for mask in image.masks] == [("M0 0h1v1h-1z", "-1 -0 4 1")]
    shown, notes = illustrate(run, [Halves(fails=True)], layer, units, thumbnails)
    assert len(shown) == 1
    assert len(notes) == 1
    assert re.search(r"clip_dissect for layer layer3 .*: out of ideas", notes[0])


def test_a_method_without_the_hook_has_tables_only(run, layers):
    class Silent(Method):
        name = "clip_dissect"

        def describe(self, layer, units):
            raise NotImplementedError

    units = {r.unit.index: (0.0, 2.0) for r in records(run, "clip_dissect")}
    assert illustrate(run, [Silent()], layers["layer3"], units, Thumbnails()) == ({}, [])


def test_each_crop_and_each_file_is_stored_once(layers, tmp_path):
    layer, thumbnails = layers["layer3"], Thumbnails()
    whole = thumbnails.of_image(layer, 0)
    assert thumbnails.of_image(layer, 0, (0.0, 0.0, 1.0, 1.0)) == whole  # the target saw all of it
    crop = thumbnails.of_image(layer, 0, (0.0, 0.0, 0.5, 1.0))
    assert crop != whole
    assert thumbnails.of_image(layer, 0, (0.0, 0.0, 0.5, 1.0)) == crop
    with Image.open(io.BytesIO(thumbnails.files[crop])) as image:
        assert image.width * 2 == pytest.approx(image.height, abs=2)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"not an image")
    assert thumbnails.of_file(damaged) is None
