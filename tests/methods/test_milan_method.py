"""Tests MILAN as a method: records, identity, resuming, settings and errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from memory_images import ImageArray, ImageArrayLayer
from torchvision.models.resnet import BasicBlock, ResNet

from dissectbench.harness.cache import Cache
from dissectbench.harness.config import build, compose
from dissectbench.harness.describing import describe
from dissectbench.harness.errors import InputError
from dissectbench.harness.journal import Journal
from dissectbench.harness.parts import build_all
from dissectbench.harness.targets.fingerprints import weights_digest
from dissectbench.harness.targets.target import Target
from dissectbench.methods.milan import milan, unit_features
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoint_files import load_checkpoint, save_checkpoint
from dissectbench.methods.milan.checkpoints import Checkpoint, EncoderConfig
from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.milan import MILAN
from dissectbench.methods.milan.settings import (
    DecodingOverrides,
    DecodingSettings,
    ExemplarOverrides,
    ExemplarSettings,
)
from dissectbench.methods.milan.vocabulary import Vocabulary

WORDS = Vocabulary(("red", "round", "things", "with", "wheels"), "words-1")
SIZE, IMAGES, UNITS = 32, 40, 7
DEAD, NOT_FINITE = 2, 4


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNet(BasicBlock, [1, 1, 1, 1])


def target(seed=0):
    return Target.of(
        network(seed), lambda image: torch.zeros(3, 8, 8), name=f"small-{seed}", device="cpu"
    )


def random_weights(build):
    """Returns random weights, large enough that units get different captions."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = build()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter)
    return made.state_dict()


def own_checkpoint(folder, **changes):
    """Writes a MILAN without its encoder, in the project's own format."""
    encoder = PyramidEncoder(network(), "small")
    sizes = DecoderSizes(len(WORDS), encoder.size, 8, 16, 16)
    lm = LanguageModelSizes(8, 16)
    decoder, language = (
        random_weights(lambda: AttentionDecoder(sizes)),
        random_weights(lambda: CaptionLanguageModel(WORDS, lm)),
    )
    state = {f"decoder.{name}": value for name, value in decoder.items()}
    state |= {f"lm.{name}": value for name, value in language.items()}
    state["decoder.output.1.bias"][[WORDS.start, WORDS.stop, WORDS.pad, WORDS.unknown]] -= 6.0
    config = EncoderConfig("small", weights_digest(encoder.model))
    made = Checkpoint(WORDS, sizes, lm, DecodingSettings(length=6, beam=4), config, state)
    save_checkpoint(replace(made, **changes), folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return own_checkpoint(tmp_path_factory.mktemp("milan") / "small")


def method(checkpoint, *, exemplars=None, decoding=None, **settings):
    """Returns a MILAN with small exemplars; mappings replace some settings of a group."""
    small = {"count": 5, "quantile": 0.1, "image_size": SIZE}
    return MILAN(
        str(checkpoint),
        exemplars=ExemplarOverrides(**{**small, **(exemplars or {})}),
        decoding=DecodingOverrides(**(decoding or {})),
        **{"encoder": target(), "device": "cpu", **settings},
    )


def layer_of(folder, *, interrupt_at=None, vector=False):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((IMAGES, UNITS, 4, 4)).astype(np.float32)
    maps[:, DEAD], maps[3, NOT_FINITE] = 0.5, np.nan
    pixels = rng.integers(0, 256, (IMAGES, 3, SIZE, SIZE), np.uint8)
    maps = maps[:, :, 0, 0] if vector else maps
    return ImageArrayLayer(maps, ImageArray(pixels, interrupt_at), Cache(folder), name="conv")


def lines(descriptions):
    return {record.unit.index: record.to_json() for record in descriptions}


def test_descriptions_are_those_of_the_reference(shared, tmp_path):
    folder = shared / "golden" / "milan"
    units = json.loads((folder / "expected.json").read_text())["models"]["resnet18"]["units"]
    with np.load(folder / "exemplar_inputs.npz") as inputs:
        # The published preprocessing crops the central 224 x 224 of 256 x 256.
        pixels = np.pad(inputs["images"], ((0, 0), (0, 0), (16, 16), (16, 16)))
        layer = ImageArrayLayer(inputs["activations"], ImageArray(pixels), Cache(tmp_path))
    with np.load(folder / "exemplars.npz") as exemplars:
        numbers, ids = exemplars["units"].tolist(), exemplars["ids"]
    made = MILAN(
        str(folder / "milan_resnet18.pth"),
        variant="official",
        exemplars=ExemplarOverrides(quantile=0.1),
        keep_candidates=50,
        device="cpu",
    )
    records = list(made.describe(layer, numbers))
    for row in (0, 2, 3):  # in the reference, masks of the unit in row 1 were replaced by hand
        expected, record = units[row]["rerank_reference_when_alone"], records[row]
        assert record.text == expected["caption"]
        assert record.evidence["images"] == ids[row].tolist()
        captions = {hypothesis["caption"] for hypothesis in units[row]["n_best"]}
        assert len(captions & {c.text for c in record.candidates}) > 0.9 * len(captions)
        best = record.candidates[0]
        assert best.score == record.score == pytest.approx(expected["score"], abs=1e-3)
        weighted = record.evidence["log_prob"] - 0.2 * record.evidence["lm_log_prob"]
        assert weighted == pytest.approx(record.score, abs=1e-5)


@pytest.mark.numerics
@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_description_does_not_depend_on_the_other_units(checkpoint, tmp_path, block):
    whole = lines(method(checkpoint).describe(layer_of(tmp_path / "a"), range(UNITS)))
    assert len(whole) == UNITS
    split = lines(method(checkpoint, block=block).describe(layer_of(tmp_path / "b"), [6, 0, 5, 1, 3]))
    assert list(split) == [6, 0, 5, 1, 3]
    assert split == {unit: whole[unit] for unit in split}


def test_units_get_different_captions_with_their_candidates(checkpoint, tmp_path):
    layer = layer_of(tmp_path)
    alive = [u for u in range(UNITS) if u not in (DEAD, NOT_FINITE)]
    records = list(method(checkpoint, keep_candidates=3).describe(layer, alive))
    assert len({record.text for record in records}) > 1
    for record in records:
        scores = [candidate.score or 0.0 for candidate in record.candidates]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert (record.text, record.score) == (record.candidates[0].text, scores[0])
        images = np.argsort(-layer.maxima[:, record.unit.index], kind="stable")[:5]
        assert record.evidence["images"] == images.tolist()
        np.testing.assert_array_equal(record.evidence["maxima"], layer.maxima[images, record.unit.index])
        json.loads(record.to_json())


def test_a_dead_unit_and_one_with_infinite_values_have_no_description(checkpoint, tmp_path):
    layer = layer_of(tmp_path)
    dead, not_finite, good = method(checkpoint).describe(layer, [DEAD, NOT_FINITE, 0])
    assert (dead.status, dead.text) == ("dead", None)
    assert not_finite.status == "failed"
    assert "not all finite" in not_finite.evidence["reason"]
    assert good.status == "ok"
    assert [record.status for record in method(checkpoint).describe(layer, [DEAD])] == ["dead"]


def test_an_empty_caption_is_a_failed_record(checkpoint, tmp_path):
    made = load_checkpoint(checkpoint)
    state = dict(made.state)
    state["decoder.output.1.bias"] = torch.full((len(WORDS),), -50.0)
    state["decoder.output.1.bias"][WORDS.stop] = 50.0
    silent = own_checkpoint(tmp_path / "silent", state=state)
    (record,) = method(silent).describe(layer_of(tmp_path), [0])
    assert (record.status, record.text) == ("failed", None)
    assert "no words" in record.evidence["reason"]
    assert record.evidence["images"]


def test_a_layer_without_spatial_extent_is_described(checkpoint, tmp_path):
    records = list(method(checkpoint).describe(layer_of(tmp_path, vector=True), [0, 1, 3]))
    assert [record.status for record in records] == ["ok"] * 3


def test_each_image_is_encoded_once(checkpoint, tmp_path, monkeypatch):
    batches = []
    original = PyramidEncoder.maps
    monkeypatch.setattr(
        PyramidEncoder, "maps", lambda self, images: batches.append(images) or original(self, images)
    )
    layer = layer_of(tmp_path)
    described = method(checkpoint, exemplars={"count": 15}, block=2).describe(layer, [0, 1, 3, 5, 6])
    distinct = {image for record in described for image in record.evidence["images"]}
    assert len(distinct) > 16  # more than one batch of images
    assert sorted(layer.probe.opened) == sorted(distinct)
    images = torch.cat(batches).flatten(1)
    assert len(images[images.any(dim=1)].unique(dim=0)) == len(distinct)  # padding is all zeros
    assert len(batches) == -(-len(distinct) // 16)


@pytest.fixture
def saves_often(monkeypatch):
    """Saves after every two images."""
    monkeypatch.setattr(unit_features, "_SAVE_AFTER", 0.0)
    monkeypatch.setattr(unit_features, "_IMAGES", 2)


def test_a_killed_run_resumes(checkpoint, tmp_path, saves_often):
    units, made = [0, 1, 3, 5], method(checkpoint)
    whole = lines(made.describe(layer_of(tmp_path / "whole"), units))
    list(made.describe(layer_of(tmp_path / "again"), units[:2]))
    first = layer_of(tmp_path / "again")
    images = sorted({i for u in units[2:] for i in np.argsort(-first.maxima[:, u], kind="stable")[:5]})
    interrupt_at = int(images[6])
    with pytest.raises(KeyboardInterrupt):
        list(made.describe(layer_of(tmp_path / "again", interrupt_at=interrupt_at), units))
    layer = layer_of(tmp_path / "again")
    assert lines(made.describe(layer, units)) == whole
    assert layer.probe.opened[0] == images[5]  # the last image before may have further units
    assert layer.probe.opened[-1] == images[-1]
    finished = layer_of(tmp_path / "again")
    assert lines(made.describe(finished, units)) == whole
    assert finished.probe.opened == []
    assert list((tmp_path / "again" / "milan_features_part").glob("*.npy")) == []


def test_a_run_killed_while_it_stores_features_encodes_no_image_again(checkpoint, tmp_path, monkeypatch):
    units, array = [0, 1, 3], Cache.array
    whole = lines(method(checkpoint).describe(layer_of(tmp_path / "whole"), units))

    def killed(cache, kind, key, compute):
        if key.get("unit") == 3:
            raise KeyboardInterrupt
        return array(cache, kind, key, compute)

    with monkeypatch.context() as patched:
        patched.setattr(Cache, "array", killed)
        with pytest.raises(KeyboardInterrupt):
            next(method(checkpoint).describe(layer_of(tmp_path / "again"), units))
    layer = layer_of(tmp_path / "again")
    assert lines(method(checkpoint).describe(layer, units)) == whole
    assert layer.probe.opened == []


def test_units_described_before_need_no_image(checkpoint, tmp_path):
    whole = lines(method(checkpoint).describe(layer_of(tmp_path), [0, 1, 3, 5]))
    rest = layer_of(tmp_path)
    assert lines(method(checkpoint, decoding={"strategy": "rerank"}).describe(rest, [3, 5])) == {
        unit: whole[unit] for unit in (3, 5)
    }
    assert rest.probe.opened == []


def test_a_damaged_file_in_the_cache_is_computed_again(checkpoint, tmp_path):
    whole = lines(method(checkpoint).describe(layer_of(tmp_path), [0, 1]))
    files = sorted(tmp_path.rglob("*.npy"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:100])
    assert lines(method(checkpoint).describe(layer_of(tmp_path), [0, 1])) == whole


def test_the_name_of_the_choice_is_the_name_in_records(checkpoint, tmp_path):
    named = method(checkpoint, name="other")
    assert named.models() == {"other": "small"}
    assert {record.method for record in named.describe(layer_of(tmp_path), range(UNITS))} == {"other"}
    with pytest.raises(InputError, match=r"method\.other\.checkpoint"):
        MILAN("nowhere.pth", name="other")


def test_two_milans_are_configured_side_by_side(checkpoint):
    methods = compose(
        [
            "method=[milan,milan_tinyworld]",
            f"method.milan.checkpoint={checkpoint}",
            "method.milan_tinyworld.decoding.beam=3",
            "device=cpu",
        ]
    ).config.method
    own, tinyworld = build_all(methods, "method")
    assert (own.name, tinyworld.name) == ("milan", "milan_tinyworld")
    own.encoder = target()
    assert own.identity()["decoding"]["beam"] == 4
    assert tinyworld.identity()["decoding"]["beam"] == 3


def test_a_user_file_gives_a_milan_a_name_of_its_own(checkpoint, tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "milan_places.yaml").write_text(
        "# @package method.milan_places\ndefaults:\n  - milan@_here_\n  - _self_\n\n"
        f"name: milan_places\ncheckpoint: {checkpoint}\n"
    )
    settings = ["method=[milan_places]", "method.milan_places.exemplars.count=3"]
    node = compose(settings, config_dir=str(tmp_path)).config.method.milan_places
    made = build(node, "method.milan_places")
    assert (made.name, made.exemplars.count) == ("milan_places", 3)


def test_the_constructor_reads_no_weights(checkpoint, monkeypatch):
    monkeypatch.setattr(milan, "load_checkpoint", None)
    assert method(checkpoint).models() == {"milan": "small"}
    assert method(checkpoint, label="mine").models() == {"milan": "mine"}


@pytest.mark.parametrize(
    "changed",
    [
        {"variant": "official"},
        {"decoding": {"strategy": "beam"}},
        {"decoding": {"beam": 3}},
        {"decoding": {"length": 5}},
        {"decoding": {"temperature": 0.5}},
        {"decoding": {"counting": "one_more"}},
        {"exemplars": {"count": 4}},
        {"exemplars": {"quantile": 0.2}},
        {"exemplars": {"image_size": 24}},
        {"keep_candidates": 2},
    ],
)
def test_settings_that_change_descriptions_change_the_identity(checkpoint, changed):
    identity = method(checkpoint).identity()
    assert method(checkpoint, **changed).identity() != identity
    assert method(checkpoint, block=3, label="other").identity() == identity


def test_exemplars_are_made_as_in_the_checkpoints_training_unless_overridden(tmp_path):
    trained = own_checkpoint(
        tmp_path / "trained", exemplars={"count": 4, "quantile": 0.2, "image_size": 24}
    )
    assert MILAN(str(trained)).exemplars == ExemplarSettings(4, 0.2, 24)
    changed = MILAN(str(trained), exemplars=ExemplarOverrides(count=3, image_size=16))
    assert changed.exemplars == ExemplarSettings(3, 0.2, 16)
    published = MILAN(str(own_checkpoint(tmp_path / "published")))
    assert published.exemplars == ExemplarSettings(15, 0.01, 224)


def test_other_weights_are_another_identity(checkpoint, tmp_path):
    config = EncoderConfig("small")  # without a digest, any network is accepted
    any_network = own_checkpoint(tmp_path / "any", encoder=config)
    assert method(any_network).identity() != method(checkpoint).identity()
    assert method(any_network).identity() != method(any_network, encoder=target(1)).identity()


def test_counting_is_the_published_one_for_published_checkpoints_and_official(checkpoint, shared):
    published = shared / "golden" / "milan" / "milan_resnet18.pth"
    assert method(checkpoint).identity()["counting"] == "exact"
    assert method(checkpoint, variant="official").identity()["counting"] == "one_more"
    assert method(published).identity()["counting"] == "one_more"
    assert method(published, decoding={"counting": "exact"}).identity()["counting"] == "exact"
    with pytest.raises(InputError, match="counting"):
        method(published, decoding={"counting": "batch"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoding": {"strategy": "bean"}}, "rerank"),
        ({"variant": "lite"}, "paper or official"),
        ({"decoding": {"beam": 0}}, "beam=0"),
        ({"decoding": {"temperature": float("nan")}}, "decoding.temperature=nan"),
        ({"decoding": {"temperature": float("inf")}}, "decoding.temperature=inf"),
        ({"decoding": {"beam": float("nan")}}, "decoding.beam=nan"),
        ({"exemplars": {"count": 0}}, "count=0"),
        ({"exemplars": {"quantile": 2.0}}, r"\(0, 1\]"),
        ({"keep_candidates": 0}, r"milan\.keep_candidates"),
        ({"block": 0}, r"milan\.block"),
    ],
)
def test_wrong_settings_are_rejected_by_the_constructor(checkpoint, settings, message):
    with pytest.raises(InputError) as rejected:
        method(checkpoint, **settings)
    assert rejected.match(message) or message in str(rejected.value)


def test_the_error_for_a_missing_checkpoint_says_what_to_download(tmp_path):
    with pytest.raises(InputError) as rejected:
        MILAN(str(tmp_path / "milan-base.pth"))
    assert "milan-base.pth" in rejected.value.message
    assert "http://milan.csail.mit.edu/models/" in str(rejected.value)
    with pytest.raises(InputError, match="has no file or folder 'nowhere'"):
        MILAN("package:dissectbench.datasets.tinyworld/nowhere")


def test_a_missing_or_different_encoder_is_an_error(checkpoint, tmp_path):
    with pytest.raises(InputError, match="does not contain the weights of its encoder") as rejected:
        list(method(checkpoint, encoder=None).describe(layer_of(tmp_path), [0]))
    assert "method.milan.encoder" in str(rejected.value)
    with pytest.raises(InputError, match="is not small with the weights"):
        list(method(checkpoint, encoder=target(1)).describe(layer_of(tmp_path), [0]))


def test_a_configured_milan_writes_a_journal(checkpoint, tmp_path):
    config = compose(
        [
            "method=[milan]",
            f"method.milan.checkpoint={checkpoint}",
            f"method.milan.exemplars.image_size={SIZE}",
            "method.milan.exemplars.quantile=0.1",
            "device=cpu",
        ]
    ).config
    made = build(config.method.milan, "method.milan")
    made.encoder = target()
    layer = layer_of(tmp_path)
    with Journal(tmp_path / "descriptions.jsonl") as journal:
        describe(made, layer, range(UNITS), journal)
        statuses = [record.status for record in journal.latest.values()]
    assert statuses == ["ok", "ok", "dead", "ok", "failed", "ok", "ok"]


def test_the_choice_milan_requires_a_checkpoint():
    with pytest.raises(InputError, match=r"method\.milan\.checkpoint is not set"):
        compose(["method=[milan]"])
