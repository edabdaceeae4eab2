"""Tests the content of checkpoints: published files, converted ones, and the networks built from them."""

import json
import subprocess
import sys
import types
import zipfile
from dataclasses import replace

import pytest
import torch
from published_milan import SIZES, VOCABULARY, published_content
from safetensors.torch import load_file, save_file
from torchvision.models.resnet import BasicBlock, ResNet

from dissectbench.harness.errors import InputError
from dissectbench.harness.targets.fingerprints import weights_digest
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoint_files import (
    CONFIG,
    WEIGHTS,
    convert,
    load_checkpoint,
    save_checkpoint,
)
from dissectbench.methods.milan.checkpoints import EncoderConfig
from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.vocabulary import Vocabulary


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "milan.pth"
    torch.save(published_content(), path)
    return path


@pytest.mark.parametrize("name", ["resnet18", "small_no_encoder", "no_lm_no_encoder"])
def test_every_property_and_weight_is_read(shared, name):
    folder = shared / "golden" / "milan"
    model = json.loads((folder / "expected.json").read_text())["models"][name]
    loaded, expected = load_checkpoint(folder / model["file"]), model["checkpoint"]
    assert loaded.official
    assert loaded.vocabulary.tokens == tuple(expected["vocabulary"])
    ids = model["special_ids"]
    vocabulary = loaded.vocabulary
    assert (vocabulary.start, vocabulary.stop) == (ids["start"], ids["stop"])
    assert (vocabulary.pad, vocabulary.unknown) == (ids["pad"], ids["unk"])
    decoder, lm = expected["decoder"], expected["lm"]
    assert loaded.sizes.embedding == decoder["embedding_size"]
    assert loaded.sizes.hidden == decoder["hidden_size"]
    assert loaded.sizes.attention == (decoder["attention_hidden_size"] or decoder["hidden_size"])
    assert loaded.decoding.strategy == decoder["strategy"]
    assert loaded.decoding.temperature == decoder["temperature"]
    assert (loaded.decoding.length, loaded.decoding.beam) == (decoder["length"], decoder["beam_size"])
    assert (loaded.language_model is None) == (lm is None)
    if lm is not None:
        sizes = LanguageModelSizes(lm["embedding_size"], lm["hidden_size"], lm["layers"], lm["dropout"])
        assert loaded.language_model == sizes
    shapes = {}
    for key, (shape, dtype) in expected["state_dict"].items():
        if key.startswith("encoder.encoder.model.fc."):
            continue
        ours = key.replace("encoder.encoder.", "encoder.")
        ours = ours if ours.startswith(("encoder.", "lm.")) else f"decoder.{ours}"
        shapes[ours] = (shape, f"torch.{dtype}")
    assert {k: (list(v.shape), str(v.dtype)) for k, v in loaded.state.items()} == shapes


@pytest.mark.parametrize(("words", "total"), [(9, 21_001_811), (5000, 27_400_273)])
def test_the_published_sizes_have_the_published_number_of_weights(words, total):
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(words - 4)), "spacy")
    with torch.device("meta"):
        decoder = AttentionDecoder(DecoderSizes(words, 3904))
        language_model = CaptionLanguageModel(vocabulary, LanguageModelSizes())
    parts = [*decoder.parameters(), *language_model.parameters()]
    assert sum(part.numel() for part in parts) == 20_990_273 + 1282 * words == total
    assert len(decoder.state_dict()) + len(language_model.state_dict()) == 658 - 626 - 2
    encoder = PyramidEncoder.named("resnet101")
    assert len(encoder.state_dict()) == 626 + 2 - 2  # mean and std; without the classifier
    trained = sum(part.numel() for part in encoder.parameters())
    assert trained == 44_549_160 - 1000 * 2048 - 1000


def test_no_library_of_the_published_program_is_needed(published):
    code = (
        "import sys\n"
        "from dissectbench.methods.milan.checkpoint_files import load_checkpoint\n"
        f"load_checkpoint({str(published)!r}).build_decoder()\n"
        "print([m for m in ('spacy', 'thinc', 'confection', 'allennlp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["thinc.config", "confection"])
def test_the_settings_of_the_tokeniser_are_ignored(tmp_path, monkeypatch, module):
    config = type("Config", (dict,), {"__module__": module})
    library = types.ModuleType(module)
    vars(library)["Config"] = config
    monkeypatch.setitem(sys.modules, module.split(".")[0], types.ModuleType(module.split(".")[0]))
    monkeypatch.setitem(sys.modules, module, library)
    settings = config(nlp={"lang": "en"})
    vars(settings)["is_interpolated"] = True
    torch.save(published_content(settings), tmp_path / "milan.pth")
    for name in {module, module.split(".")[0]}:
        monkeypatch.delitem(sys.modules, name)
    loaded = load_checkpoint(tmp_path / "milan.pth")
    assert loaded.vocabulary == VOCABULARY
    assert loaded.sizes == SIZES
    assert module not in sys.modules


def test_weights_are_read_as_they_were_saved(published):
    saved, loaded = published_content()["state_dict"], load_checkpoint(published)
    for name, tensor in saved.items():
        assert torch.equal(loaded.state[name if name.startswith("lm.") else f"decoder.{name}"], tensor)


def test_views_and_parameters_are_read_as_tensors(tmp_path):
    state = published_content()["state_dict"]
    both = torch.stack([state["lstm.bias_ih"], state["lstm.bias_hh"]])
    state["lstm.bias_ih"], state["lstm.bias_hh"] = both[0], both[1]
    state["init_h.0.weight"] = state["init_h.0.weight"].T.contiguous().T
    state["init_c.0.weight"] = torch.nn.Parameter(state["init_c.0.weight"])
    torch.save({**published_content(), "state_dict": state}, tmp_path / "milan.pth")
    convert(tmp_path / "milan.pth", tmp_path / "converted")
    for path in (tmp_path / "milan.pth", tmp_path / "converted"):
        loaded = load_checkpoint(path)
        for name in ("lstm.bias_ih", "lstm.bias_hh", "init_h.0.weight", "init_c.0.weight"):
            assert torch.equal(loaded.state[f"decoder.{name}"], state[name])


def test_other_files_are_rejected(tmp_path):
    (tmp_path / "text.pth").write_text("not loaded")
    with pytest.raises(InputError, match="not a zip file"):
        load_checkpoint(tmp_path / "text.pth")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.png", b"")
    with pytest.raises(InputError, match=r"no data\.pkl"):
        load_checkpoint(tmp_path / "images.zip")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(InputError, match=CONFIG):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "other", [ResNet(BasicBlock, [1, 1, 1, 1]).state_dict(), {"epoch": 3}, [1, 2], {"properties": 3}]
)
def test_a_checkpoint_of_another_model_is_rejected(tmp_path, other):
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(InputError, match="MILAN"):
        load_checkpoint(tmp_path / "other.pth")


def test_weights_of_another_architecture_are_named(tmp_path):
    changed = published_content()
    changed["state_dict"]["attend.output.0.weight"] = torch.zeros(1, 3)
    torch.save(changed, tmp_path / "milan.pth")
    with pytest.raises(InputError, match=r"decoder: .*attend\.output\.0\.weight \[1, 3\]"):
        load_checkpoint(tmp_path / "milan.pth")
    changed = published_content()
    del changed["state_dict"]["lm.lstm.weight_hh_l1"]
    torch.save(changed, tmp_path / "milan.pth")
    with pytest.raises(InputError, match=r"language model: .*lstm\.weight_hh_l1"):
        load_checkpoint(tmp_path / "milan.pth")


@pytest.mark.parametrize("missing", ["hidden_size", "lm", "indexer", "strategy"])
def test_a_missing_property_is_named(tmp_path, missing):
    changed = published_content()
    del changed["properties"][missing]
    torch.save(changed, tmp_path / "milan.pth")
    with pytest.raises(InputError, match=missing):
        load_checkpoint(tmp_path / "milan.pth")


@pytest.mark.parametrize(("saved", "strategy"), [("beam", "mi-beam"), ("greedy", "mi-greedy")])
def test_published_strategies_use_the_language_model_at_every_word(tmp_path, saved, strategy):
    changed = published_content()
    changed["properties"]["strategy"] = saved
    torch.save(changed, tmp_path / "milan.pth")
    assert load_checkpoint(tmp_path / "milan.pth").decoding.strategy == strategy


def test_a_converted_checkpoint_is_equal(published, tmp_path):
    original, out = convert(published, tmp_path / "converted"), tmp_path / "converted"
    assert sorted(path.name for path in out.iterdir()) == [CONFIG, WEIGHTS]
    loaded = load_checkpoint(out)
    assert loaded.official
    for name in ("vocabulary", "sizes", "language_model", "decoding", "encoder"):
        assert getattr(loaded, name) == getattr(original, name)
    assert loaded.state.keys() == original.state.keys()
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in original.state.items())


def test_weights_and_settings_of_different_checkpoints_are_detected(published, tmp_path):
    out = tmp_path / "converted"
    convert(published, out)
    weights = load_file(out / WEIGHTS)
    weights["decoder.init_h.0.bias"] += 1
    save_file(weights, out / WEIGHTS)
    with pytest.raises(InputError, match=CONFIG):
        load_checkpoint(out)
    (out / CONFIG).write_text('{"format": 99}')
    with pytest.raises(InputError, match="format 99"):
        load_checkpoint(out)


def test_an_encoder_without_weights_in_the_checkpoint_has_to_be_given(published):
    loaded = load_checkpoint(published)
    assert not loaded.has_encoder
    with pytest.raises(InputError, match="does not contain the weights of its encoder, resnet18"):
        loaded.build_encoder()
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    assert loaded.build_encoder(network).size == 1024


def test_only_the_network_of_the_training_is_accepted(published, tmp_path):
    trained_with, other = ResNet(BasicBlock, [1, 1, 1, 1]), ResNet(BasicBlock, [1, 1, 1, 1])
    encoder = PyramidEncoder(trained_with, "mine", mean=(0.5, 0.4, 0.3))
    checkpoint = load_checkpoint(published)
    state = {**checkpoint.state, "encoder.mean": encoder.mean, "encoder.std": encoder.std}
    config = EncoderConfig("mine", weights_digest(encoder.model))
    save_checkpoint(replace(checkpoint, encoder=config, state=state), tmp_path / "mine")
    loaded = load_checkpoint(tmp_path / "mine")
    again = loaded.build_encoder(trained_with)
    assert torch.equal(again.mean, encoder.mean)
    with pytest.raises(InputError, match="not mine"):
        loaded.build_encoder(other)


def test_an_encoder_of_another_size_is_rejected(published):
    checkpoint = load_checkpoint(published)
    sizes = replace(checkpoint.sizes, feature=512)
    with pytest.raises(InputError, match="512 numbers"):
        replace(checkpoint, sizes=sizes).build_encoder(ResNet(BasicBlock, [1, 1, 1, 1]))
