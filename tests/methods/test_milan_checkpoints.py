"""Published files are read as they are, and nothing in them is run."""

import json
import os
import pickle
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.resnet import BasicBlock, ResNet

from dissectbench.harness.errors import InputError
from dissectbench.harness.targets.fingerprints import weights_digest
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.checkpoints import (
    CONFIG,
    WEIGHTS,
    EncoderConfig,
    convert,
    load_checkpoint,
    save_checkpoint,
)
from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.vocabulary import Vocabulary

WORDS = ("red", "round", "things", ".")
VOCABULARY = Vocabulary(WORDS, "spacy")
SIZES = DecoderSizes(len(VOCABULARY), 1024, 6, 12, 12, 0.5)
LM_SIZES = LanguageModelSizes(5, 7, 2, 0.25)


def indexer(words=WORDS, tokeniser=None):
    return {
        "properties": {
            "vocab": {"properties": {"tokens": words}, "children": {}},
            "tokenize": {
                "properties": {"nlp": (tokeniser, b"\x93blank\xff"), "lowercase": True},
                "children": {},
            },
            "start": True,
            "stop": True,
            "pad": True,
            "unk": True,
            "length": None,
        },
        "children": {},
    }


def content(tokeniser=None):
    """A small file of the published format, without the weights of the encoder."""
    lm = {"indexer": indexer(WORDS, tokeniser), "embedding_size": 5, "hidden_size": 7}
    properties = {
        "indexer": indexer(WORDS, tokeniser),
        "encoder": {"properties": {"config": "resnet18", "pretrained": True}, "children": {}},
        "lm": {"properties": {**lm, "layers": 2, "dropout": 0.25}, "children": {}},
        "embedding_size": 6,
        "hidden_size": 12,
        "attention_hidden_size": None,
        "dropout": 0.5,
        "length": 9,
        "strategy": "rerank",
        "temperature": 0.3,
        "beam_size": 11,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = AttentionDecoder(SIZES).state_dict()
        lm_state = CaptionLanguageModel(VOCABULARY, LM_SIZES).state_dict()
    state.update({f"lm.{name}": tensor for name, tensor in lm_state.items()})
    children = {"encoder": "PyramidConvEncoder"}
    return {"properties": properties, "children": children, "state_dict": state}


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "milan.pth"
    torch.save(content(), path)
    return path


def repacked(path, out, change):
    """Copies a zip file with the records that `change(name, content)` gives."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out


def with_pickle(path, out, pickled):
    return repacked(path, out, lambda name, old: pickled if name.endswith("data.pkl") else old)


@pytest.mark.parametrize("name", ["resnet18", "small_no_encoder", "no_lm_no_encoder"])
def test_every_property_and_weight_is_read(shared, name):
    folder = shared / "golden" / "milan"
    known = json.loads((folder / "expected.json").read_text())["models"][name]
    found, expected = load_checkpoint(folder / known["file"]), known["checkpoint"]
    assert found.official
    assert found.vocabulary.tokens == tuple(expected["vocabulary"])
    ids = known["special_ids"]
    vocabulary = found.vocabulary
    assert (vocabulary.start, vocabulary.stop) == (ids["start"], ids["stop"])
    assert (vocabulary.pad, vocabulary.unknown) == (ids["pad"], ids["unk"])
    decoder, lm = expected["decoder"], expected["lm"]
    assert found.sizes.embedding == decoder["embedding_size"]
    assert found.sizes.hidden == decoder["hidden_size"]
    assert found.sizes.attention == (decoder["attention_hidden_size"] or decoder["hidden_size"])
    assert found.decoding.strategy == decoder["strategy"]
    assert found.decoding.temperature == decoder["temperature"]
    assert (found.decoding.length, found.decoding.beam) == (decoder["length"], decoder["beam_size"])
    assert (found.language_model is None) == (lm is None)
    if lm is not None:
        sizes = LanguageModelSizes(lm["embedding_size"], lm["hidden_size"], lm["layers"], lm["dropout"])
        assert found.language_model == sizes
    shapes = {}
    for key, (shape, dtype) in expected["state_dict"].items():
        if key.startswith("encoder.encoder.model.fc."):
            continue
        ours = key.replace("encoder.encoder.", "encoder.")
        ours = ours if ours.startswith(("encoder.", "lm.")) else f"decoder.{ours}"
        shapes[ours] = (shape, f"torch.{dtype}")
    assert {k: (list(v.shape), str(v.dtype)) for k, v in found.state.items()} == shapes


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


def test_no_library_of_the_original_is_needed(published):
    code = (
        "import sys\n"
        "from dissectbench.methods.milan.checkpoints import load_checkpoint\n"
        f"load_checkpoint({str(published)!r}).build_decoder()\n"
        "print([m for m in ('spacy', 'thinc', 'confection', 'allennlp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["thinc.config", "confection"])
def test_the_settings_of_the_tokeniser_are_read_over(tmp_path, monkeypatch, module):
    config = type("Config", (dict,), {"__module__": module})
    library = types.ModuleType(module)
    vars(library)["Config"] = config
    monkeypatch.setitem(sys.modules, module.split(".")[0], types.ModuleType(module.split(".")[0]))
    monkeypatch.setitem(sys.modules, module, library)
    settings = config(nlp={"lang": "en"})
    vars(settings)["is_interpolated"] = True
    torch.save(content(settings), tmp_path / "milan.pth")
    for name in {module, module.split(".")[0]}:
        monkeypatch.delitem(sys.modules, name)
    found = load_checkpoint(tmp_path / "milan.pth")
    assert found.vocabulary == VOCABULARY
    assert found.sizes == SIZES
    assert module not in sys.modules


def test_weights_are_the_same_as_those_that_were_saved(published):
    saved, found = content()["state_dict"], load_checkpoint(published)
    for name, tensor in saved.items():
        assert torch.equal(found.state[name if name.startswith("lm.") else f"decoder.{name}"], tensor)


def test_views_and_parameters_are_read_like_torch_reads_them(tmp_path):
    state = content()["state_dict"]
    both = torch.stack([state["lstm.bias_ih"], state["lstm.bias_hh"]])
    state["lstm.bias_ih"], state["lstm.bias_hh"] = both[0], both[1]
    state["init_h.0.weight"] = state["init_h.0.weight"].T.contiguous().T
    state["init_c.0.weight"] = torch.nn.Parameter(state["init_c.0.weight"])
    torch.save({**content(), "state_dict": state}, tmp_path / "milan.pth")
    convert(tmp_path / "milan.pth", tmp_path / "converted")
    for path in (tmp_path / "milan.pth", tmp_path / "converted"):
        found = load_checkpoint(path)
        for name in ("lstm.bias_ih", "lstm.bias_hh", "init_h.0.weight", "init_c.0.weight"):
            assert torch.equal(found.state[f"decoder.{name}"], state[name])


class Runs:
    """Pickled, this is a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {marker}"),
        (eval, "open('{marker}', 'w')"),
        (exec, "open('{marker}', 'w')"),
        (os.mkdir, "{marker}"),
        (torch.load, "{marker}"),
        (torch.hub.load, "{marker}"),
        (types.SimpleNamespace, None),
    ],
)
def test_a_malicious_file_is_refused_and_nothing_is_run(
    published, tmp_path, function, argument, protocol
):
    marker = tmp_path / "marker"
    arguments = () if argument is None else (argument.format(marker=marker),)
    pickled = pickle.dumps({"properties": Runs(function, *arguments)}, protocol)
    path = with_pickle(published, tmp_path / "malicious.pth", pickled)
    with pytest.raises(InputError, match=rf"malicious\.pth was not opened.*\.{function.__name__}"):
        load_checkpoint(path)
    assert not marker.exists()


def overwriting(module: str, name: str, attribute: str) -> bytes:
    """A pickle that sets an attribute of what `module.name` stands for."""
    text = b"X" + len(attribute).to_bytes(4, "little") + attribute.encode()
    state = b"N}" + text + b"ccollections\nOrderedDict\ns\x86"  # (None, {attribute: OrderedDict})
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + state + b"b."


@pytest.mark.parametrize(
    ("module", "name", "attribute"),
    [
        ("torch._utils", "_rebuild_tensor_v2", "_function"),
        ("_codecs", "encode", "__call__"),
        ("thinc.config", "Config", "__setstate__"),
        ("collections", "OrderedDict", "__setstate__"),
    ],
)
def test_what_a_file_does_to_admitted_names_ends_with_it(published, tmp_path, module, name, attribute):
    attack = overwriting(module, name, attribute)
    with pytest.raises(InputError):
        load_checkpoint(with_pickle(published, tmp_path / "attack.pth", attack))
    assert not hasattr(OrderedDict, "__setstate__")
    assert load_checkpoint(published).vocabulary == VOCABULARY


def test_numbers_beyond_a_record_are_not_read(published, tmp_path):
    def longer(name, old):
        if not name.endswith("data.pkl"):
            return old
        state = {"a": torch.zeros(4)}
        torch.save(state, tmp_path / "small.pth")
        with zipfile.ZipFile(tmp_path / "small.pth") as archive:
            pickled = archive.read("small/data.pkl")
        # The tensor's size, 4, becomes 200; the record stays as it is.
        assert pickled.count(b"K\x04\x85") == 1
        return pickled.replace(b"K\x04\x85", b"K\xc8\x85")

    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(repacked(published, tmp_path / "beyond.pth", longer))
    shorter = repacked(
        published,
        tmp_path / "shorter.pth",
        lambda name, old: old[:-8] if name.endswith("data/3") else old,
    )
    with pytest.raises(InputError, match="record 3 holds"):
        load_checkpoint(shorter)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(published, tmp_path, share):
    whole = published.read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut\.pth"):
        load_checkpoint(path)


def test_a_changed_byte_is_noticed(published, tmp_path):
    whole = bytearray(published.read_bytes())
    weights = content()["state_dict"]["init_h.0.weight"].numpy().tobytes()
    whole[bytes(whole).index(weights) + 40] ^= 1
    (tmp_path / "changed.pth").write_bytes(whole)
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "changed.pth")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("not found")
    with pytest.raises(InputError, match="not a zip file"):
        load_checkpoint(tmp_path / "text.pth")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("a.png", b"")
    with pytest.raises(InputError, match=r"no data\.pkl"):
        load_checkpoint(tmp_path / "pictures.zip")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(InputError, match=CONFIG):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "other", [ResNet(BasicBlock, [1, 1, 1, 1]).state_dict(), {"epoch": 3}, [1, 2], {"properties": 3}]
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(InputError, match="MILAN"):
        load_checkpoint(tmp_path / "other.pth")


def test_weights_of_another_architecture_are_named(tmp_path):
    changed = content()
    changed["state_dict"]["attend.output.0.weight"] = torch.zeros(1, 3)
    torch.save(changed, tmp_path / "milan.pth")
    with pytest.raises(InputError, match=r"decoder: .*attend\.output\.0\.weight \[1, 3\]"):
        load_checkpoint(tmp_path / "milan.pth")
    changed = content()
    del changed["state_dict"]["lm.lstm.weight_hh_l1"]
    torch.save(changed, tmp_path / "milan.pth")
    with pytest.raises(InputError, match=r"language model: .*lstm\.weight_hh_l1"):
        load_checkpoint(tmp_path / "milan.pth")


@pytest.mark.parametrize("missing", ["hidden_size", "lm", "indexer", "strategy"])
def test_a_missing_property_is_named(tmp_path, missing):
    changed = content()
    del changed["properties"][missing]
    torch.save(changed, tmp_path / "milan.pth")
    with pytest.raises(InputError, match=missing):
        load_checkpoint(tmp_path / "milan.pth")


@pytest.mark.parametrize(("saved", "meant"), [("beam", "mi-beam"), ("greedy", "mi-greedy")])
def test_with_a_language_model_the_published_strategies_use_it(tmp_path, saved, meant):
    changed = content()
    changed["properties"]["strategy"] = saved
    torch.save(changed, tmp_path / "milan.pth")
    assert load_checkpoint(tmp_path / "milan.pth").decoding.strategy == meant


def test_a_converted_checkpoint_is_the_same(published, tmp_path):
    original, out = convert(published, tmp_path / "converted"), tmp_path / "converted"
    assert sorted(path.name for path in out.iterdir()) == [CONFIG, WEIGHTS]
    found = load_checkpoint(out)
    assert found.official
    for name in ("vocabulary", "sizes", "language_model", "decoding", "encoder"):
        assert getattr(found, name) == getattr(original, name)
    assert found.state.keys() == original.state.keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in original.state.items())


def test_files_that_do_not_belong_together_are_noticed(published, tmp_path):
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


def test_the_encoder_of_a_file_without_its_weights_has_to_be_given(published):
    found = load_checkpoint(published)
    assert not found.has_encoder
    with pytest.raises(InputError, match="does not hold the weights of its encoder, resnet18"):
        found.build_encoder()
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    assert found.build_encoder(network).size == 1024


def test_only_the_network_of_the_training_is_taken(published, tmp_path):
    trained_with, other = ResNet(BasicBlock, [1, 1, 1, 1]), ResNet(BasicBlock, [1, 1, 1, 1])
    encoder = PyramidEncoder(trained_with, "mine", mean=(0.5, 0.4, 0.3))
    checkpoint = load_checkpoint(published)
    state = {**checkpoint.state, "encoder.mean": encoder.mean, "encoder.std": encoder.std}
    config = EncoderConfig("mine", weights_digest(encoder.model))
    save_checkpoint(replace(checkpoint, encoder=config, state=state), tmp_path / "mine")
    found = load_checkpoint(tmp_path / "mine")
    again = found.build_encoder(trained_with)
    assert torch.equal(again.mean, encoder.mean)
    with pytest.raises(InputError, match="not mine"):
        found.build_encoder(other)


def test_an_encoder_of_another_size_is_refused(published):
    checkpoint = load_checkpoint(published)
    sizes = replace(checkpoint.sizes, feature=512)
    with pytest.raises(InputError, match="512 numbers"):
        replace(checkpoint, sizes=sizes).build_encoder(ResNet(BasicBlock, [1, 1, 1, 1]))
