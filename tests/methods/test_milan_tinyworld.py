"""The embedded MILAN: annotations from the pictures' labels, a training that repeats, shipped weights."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.datasets.probing_set import Annotations, ImageAnnotation, Label
from dissectbench.datasets.tinyworld import probing_set, rendered_folder
from dissectbench.datasets.tinyworld.networks import WEIGHTS, resnet
from dissectbench.datasets.tinyworld.words import CATEGORIES, NUMBER, OBJECTS, PARTS, TEXTURES, WORDS
from dissectbench.harness.activations.forward_pass import probe_layers
from dissectbench.harness.cache import Cache
from dissectbench.harness.progress import Progress
from dissectbench.harness.targets.target import Target
from dissectbench.methods.milan.checkpoints import load_checkpoint
from dissectbench.methods.milan.decoder import Decoder
from dissectbench.methods.milan.exemplar_files import write_exemplars
from dissectbench.methods.milan.language_model import LanguageModelSizes
from dissectbench.methods.milan.settings import DecodingSettings, ExemplarSettings
from dissectbench.methods.milan.tinyworld import train as script
from dissectbench.methods.milan.tinyworld.annotations import Finding, annotate, find, plural
from dissectbench.methods.milan.tinyworld.census import EDGE, census, coarse, word_planes
from dissectbench.methods.milan.tinyworld.networks import Course
from dissectbench.methods.milan.tinyworld.quality import measure, names_class
from dissectbench.methods.milan.training.fitting import FitSettings
from dissectbench.methods.milan.training.train import TrainingSettings

SKY, CAR, WHEEL, RED, BLUE, SEA = (NUMBER[w] for w in ("sky", "car", "wheel", "red", "blue", "sea"))


def painted(*things):
    """Planes of a picture of 8 x 8: (plane, rows, columns, word) painted one after the other."""
    planes = np.zeros((3, 8, 8), np.int64)
    for plane, rows, columns, word in things:
        planes[plane, rows, columns] = NUMBER[word]
    return planes


WHOLE, UPPER, LOWER = slice(None), slice(0, 4), slice(4, 8)
LEFT, RIGHT = slice(0, 4), slice(4, 8)


def picture(thing="car", colour="red"):
    """Sky above, and below it a coloured thing to the left of sand."""
    return painted(
        (0, UPPER, WHOLE, "sky"),
        (0, LOWER, WHOLE, "sand"),
        (0, LOWER, LEFT, thing),
        (1, UPPER, WHOLE, "blue"),
        (1, LOWER, WHOLE, "yellow"),
        (1, LOWER, LEFT, colour),
    )


def marked(rows, columns):
    mask = np.zeros((8, 8))
    mask[rows, columns] = 1
    return mask


def counted(*pictures):
    found = census(pictures)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def all_things():
    """The census of a world of all objects in four colours."""
    colours = ("red", "green", "white", "black")
    drawn = [picture(thing, colour) for thing in OBJECTS for colour in colours]
    return counted(*((planes, np.ones((8, 8))) for planes in drawn))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_a_census_counts_every_pixel_under_the_masks(seed, count):
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        planes = np.stack([rng.integers(0, 3, (5, 5)), rng.integers(3, 6, (5, 5))])
        pictures.append((planes, rng.integers(0, 3, (5, 5)) / 2))
    expected, above, height = np.zeros((6, 6)), np.zeros(6), np.zeros(6)
    used = [(planes, mask) for planes, mask in pictures if mask.any()]
    for planes, mask in used:
        alone = np.zeros(6)
        for y in range(5):
            for x in range(5):
                weight = mask[y, x] / mask.sum() / len(used)
                shown = [word for word in planes[:, y, x] if word]
                for word in shown:
                    alone[word] += mask[y, x] / mask.sum()
                    height[word] += weight * (0.9 - 0.2 * y)
                    for other in shown:
                        expected[word, other] += weight
        above += alone >= 0.05
    found = census(pictures)
    if not used:
        assert found is None
        return
    assert found is not None
    assert np.allclose(found.shares[:6, :6], expected)
    assert np.allclose(found.presence[:6], above / len(used))
    seen = np.diag(expected) > 0
    assert np.allclose(found.heights[:6][seen], height[seen] / np.diag(expected)[seen])
    assert np.isnan(found.heights[:6][~seen]).all()


def test_a_census_tells_what_part_of_a_thing_has_a_colour():
    red, blue = (picture(colour=colour) for colour in ("red", "blue"))
    found = counted((red, np.ones((8, 8))), (blue, np.ones((8, 8))))
    assert found.share(CAR) == pytest.approx(1 / 4)
    assert found.given(RED, CAR) == pytest.approx(1 / 2)
    assert found.given(BLUE, SKY) == pytest.approx(1)
    assert found.given(RED, NUMBER["boat"]) == 0


def test_masks_are_made_as_coarse_as_the_labels():
    mask = np.zeros((4, 4), np.uint8)
    mask[0, 0] = mask[2:, 2:] = 1
    assert coarse(mask, 2).tolist() == [[0.25, 0], [0, 1]]


class Labelled(Annotations):
    """One picture: a car on the sky, its wheel annotated in two planes."""

    categories = ("object", "part", "scene")
    labels = (Label(1, "sky", "object"), Label(2, "car", "object"), Label(3, "wheel", "part"))
    labels = (*labels, Label(4, "sea", "scene"))

    def of(self, index):
        del index
        planes = np.zeros((3, 3, 4), np.int32)
        planes[0], planes[0, :, 2:] = 1, 2
        planes[1:, 0, 3] = 3
        return ImageAnnotation((3, 4), planes, (4,))

    def fingerprint(self):
        return "one"


def test_labels_become_words_scenes_and_edges():
    things, part, again, scene, edges = next(iter(word_planes(Labelled(), 1)))
    assert things.tolist() == [[SKY, SKY, CAR, CAR]] * 3
    assert part.nonzero() == (np.array([0]), np.array([3]))
    assert part[0, 3] == WHEEL
    assert not again.any()
    assert (scene == SEA).all()
    assert edges.tolist() == [[0, EDGE, EDGE, 0]] * 3


def test_what_masks_cover_is_named_with_its_colour(all_things):
    unit = counted(*[(picture(), marked(LOWER, LEFT))] * 5)
    assert find(unit, all_things) == Finding("car", colours=("red",))


def test_a_colour_that_a_thing_always_has_goes_without_saying(all_things):
    unit = counted(*((picture(thing), marked(UPPER, WHOLE)) for thing in OBJECTS))
    assert find(unit, all_things) == Finding("sky")


def test_a_colour_of_many_things_is_named_alone(all_things):
    unit = counted(*((picture(thing), marked(LOWER, LEFT)) for thing in OBJECTS))
    assert find(unit, all_things) == Finding(colours=("red",))


def test_two_things_that_lie_above_each_other_are_both_named(all_things):
    unit = counted(*((picture(thing), marked(WHOLE, RIGHT)) for thing in OBJECTS))
    found = find(unit, replace(all_things, shares=all_things.shares * 0.4))
    assert (found.noun, *(found.beside or ())) in {("sky", "above", "sand"), ("sand", "below", "sky")}


def test_a_part_is_named_with_its_object():
    def wheeled(thing):
        planes = picture(thing, "white")
        planes[2, 6:, LEFT] = WHEEL
        planes[2, 4:6, LEFT] = NUMBER["window"]
        return planes

    world = counted(*((wheeled(thing), np.ones((8, 8))) for thing in OBJECTS))
    unit = counted(*[(wheeled("car"), marked(slice(6, 8), LEFT))] * 5)
    assert (find(unit, world).noun, find(unit, world).owner) == ("wheel", "car")
    anything = counted(*((wheeled(thing), marked(slice(6, 8), LEFT)) for thing in OBJECTS))
    assert (find(anything, world).noun, find(anything, world).owner) == ("wheel", None)


def test_masks_over_everything_have_nothing_in_common(all_things):
    assert find(all_things, all_things) == Finding()


FINDINGS = st.builds(
    Finding,
    noun=st.none() | st.sampled_from((*CATEGORIES["object"], *PARTS)),
    owner=st.none() | st.sampled_from(tuple(OBJECTS)),
    colours=st.lists(st.sampled_from(CATEGORIES["color"]), max_size=2, unique=True).map(tuple),
    texture=st.none() | st.sampled_from(TEXTURES),
    beside=st.none() | st.tuples(st.sampled_from(("above", "and")), st.sampled_from(tuple(OBJECTS))),
    scene=st.none() | st.sampled_from(CATEGORIES["scene"]),
    edge=st.booleans(),
)


@given(FINDINGS, st.integers(0, 100))
def test_every_finding_has_three_wordings_that_say_all_of_it(finding, seed):
    texts = annotate(finding, np.random.default_rng(seed))
    assert len(set(texts)) == 3
    for text in texts:
        words = text.split()
        assert text == " ".join(words)
        assert len(words) < script.SETTINGS.decoding.length
        assert set(finding.colours) <= set(words)
        assert finding.texture is None or finding.texture in words
        if finding.noun:
            assert {finding.noun, plural(finding.noun)} & set(words)
            assert finding.owner is None or {finding.owner, plural(finding.owner)} & set(words)
    assert texts == annotate(finding, np.random.default_rng(seed))


def test_plurals_are_english():
    singular = ("boat", "butterfly", "fish", "leaf", "canopy", "water", "sky", "house", "lamp", "cactus")
    expected = "boats butterflies fish leaves canopies water sky houses lamps cacti"
    assert " ".join(map(plural, singular)) == expected
    assert plural("bush") == "bushes"


def test_a_class_is_named_by_itself_or_by_its_parts():
    assert names_class("The white sails of something", "boat")
    assert names_class("Butterflies.", "butterfly")
    assert not names_class("Boating on the sea", "boat")
    assert not names_class("A car", "boat")


@pytest.mark.slow
def test_true_descriptions_are_better_than_the_controls():
    texts = [("red boats", "a red boat"), ("grass", "areas of grass"), ("cars", "a car")] * 4
    quality = measure([several[0].capitalize() for several in texts], texts, texts)
    assert quality.milan.bertscore == pytest.approx(1, abs=1e-5)
    assert (quality.milan.exact, quality.constant.exact) == (1, pytest.approx(1 / 3))
    assert max(quality.constant.bertscore, quality.shuffled.bertscore) < 0.97


FIT = FitSettings(batch=16, epochs=2)
TINY = TrainingSettings(
    8, 16, 16, 0.2, LanguageModelSizes(8, 16, 2, 0.2), DecodingSettings(beam=4), FIT, FIT
)
COURSES = (Course("colours", "colours", 4, 1, epochs=1), Course("objects", "objects", 4, 2, epochs=1))


@pytest.fixture(scope="module")
def workshops(tmp_path_factory):
    """Two workshops in which the same small MILAN was trained, the second in a hurry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISSECTBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        made = []
        for name in ("a", "b"):
            folder = tmp_path_factory.mktemp(name)
            scale = script.Scale(pictures=64, images=30, limit=3)
            workshop = script.Workshop(folder, scale, Progress("none"))
            made.append((workshop, *script.learn(workshop, COURSES, TINY)))
        yield made


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".csv", ".npy") or path.name == "config.json"
        if "cache" not in path.parts and "features" not in path.parts
    }


@pytest.mark.slow
def test_the_same_seed_makes_the_same_bytes(workshops):
    first, second = (files_of(workshop.folder) for workshop, *_ in workshops)
    assert any(name.endswith("annotations.csv") for name in first)
    assert any(name.endswith("model.safetensors") for name in first)
    assert first == second


@pytest.mark.slow
def test_what_is_finished_is_not_computed_again(workshops, monkeypatch):
    workshop, found, learnt = workshops[0]
    for module in ("tinyworld_networks._learn", "features._compute", "training._learnt"):
        monkeypatch.setattr(f"dissectbench.methods.milan.{module}", lambda *_, **__: 1 / 0)
    again, texts = script.learn(workshop, COURSES, TINY)
    assert again.split == found.split
    assert texts == learnt


@pytest.mark.slow
def test_a_unit_is_held_out_with_all_its_sets_of_exemplars(workshops):
    workshop, found, _ = workshops[0]
    targets = [workshop.target(course) for course in COURSES]
    data = [part for seed in script.SHOWN for part in workshop.units(targets, seed)]
    keys = [(part.name.rpartition("-")[0], u.layer, u.unit) for part in data for u in part.units]
    train, held_out = ({keys[i] for i in rows} for rows in (found.split.train, found.split.held_out))
    assert train
    assert held_out
    assert not train & held_out
    assert len(found.split.train) + len(found.split.held_out) == len(keys)


@pytest.mark.slow
def test_halved_weights_are_read_back_as_they_are(workshops, tmp_path):
    halved = script.halved(workshops[0][1].checkpoint)
    script.save_checkpoint(halved, tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert all(torch.equal(loaded.state[name], value) for name, value in halved.state.items())
    assert loaded.state["encoder.mean"].dtype == torch.float32
    assert next(loaded.build_decoder().parameters()).dtype == torch.float32


FOLDER = WEIGHTS / "milan"


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint(FOLDER)


def test_the_shipped_milan_is_small_and_readable_by_all():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert {path.name for path in files} == {"README.md", "config.json", "model.safetensors"}
    assert sum(path.stat().st_size for path in files) <= 4e6
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files)


def test_the_shipped_milan_knows_its_encoder(shipped):
    encoder = shipped.build_encoder(resnet()[0])
    assert not shipped.has_encoder
    assert encoder.mean.flatten().tolist() == pytest.approx([0.42, 0.42, 0.40])
    assert set(shipped.vocabulary.tokens) & set(WORDS)


@pytest.mark.slow
def test_the_shipped_milan_names_the_classes(shipped, tmp_path):
    rendered_folder.ensure_folder(tmp_path / "world", 600, 7)  # a world that nobody has seen
    network, prepare = resnet()
    target = Target.of("tinyworld-resnet", network, prepare, device="cpu")
    probe = probing_set(600, 7, tmp_path / "world")
    layer = probe_layers(
        target, probe, ["fc"], store=tmp_path / "store", cache=Cache(tmp_path / "cache")
    )["fc"]
    shown = write_exemplars(layer, tmp_path / "exemplars", ExemplarSettings(image_size=96))
    features = shipped.build_encoder(network).encode(shown.images, shown.masks, shown.ids)
    captions = Decoder.of(shipped).describe(features)
    named = [names_class(c.text, kind) for c, kind in zip(captions, OBJECTS, strict=True)]
    assert sum(named) >= 15, [caption.text for caption in captions]


def test_the_card_says_how_good_it_is_and_against_what():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    scores = re.findall(r"\((\d+)\) \| (MILAN|constant|shuffled) \| \**([\d.]+)\** \| \**([\d.]+)", card)
    assert [case for _, case, _, _ in scores] == ["MILAN", "constant", "shuffled"] * 2
    for start in (0, 3):
        (_, _, best, bleu), *controls = scores[start : start + 3]
        assert float(best) > max(float(score) for _, _, score, _ in controls) + 0.1
        assert float(bleu) > max(float(score) for _, _, _, score in controls)
    for word in ("MiniLM", "seed", "MB", "masks above", "No person"):
        assert word in card
