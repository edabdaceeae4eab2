"""Chat models of transformers: a real Llama, small and with random weights."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
from small_models import SMALL_TRANSFORMER, write_transformer

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import transformers_chat
from dissectbench.harness.foundation.chat_settings import Sampling
from dissectbench.harness.foundation.protocols import LanguageModel, Message
from dissectbench.harness.foundation.transformers_chat import TransformersChat

TEMPLATE = (
    "{% for turn in messages %}<|{{ turn['role'] }}|>{{ turn['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
CONVERSATIONS = [
    [Message("user", "a red boat")],
    [Message("user", "name what these share: " + "a red boat, " * 5)],
    [Message("user", "a"), Message("assistant", "b"), Message("user", "a dog on the grass")],
    [Message("user", "a red boat")],
    [Message("user", "two cats")],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a Llama with two layers, a byte-level tokenizer and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-chat")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[2:],
    )
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    config = LlamaConfig(
        **SMALL_TRANSFORMER,
        vocab_size=len(vocabulary),
        num_key_value_heads=1,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return write_transformer(folder, LlamaForCausalLM, config)


def chat(folder, *, temperature=0.3, seed=0, device="cpu", **settings):
    sampling = Sampling(temperature, max_tokens=12, seed=seed)
    return TransformersChat(str(folder), sampling=sampling, device=device, **settings)


def texts(model, conversations, sample=0):
    replies = dict(model.reply(conversations, sample))
    return [replies[i].text for i in range(len(conversations))]


def test_greedy_replies_are_those_of_the_library(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    expected = []
    for conversation in CONVERSATIONS:
        turns = [{"role": t.role, "content": t.content} for t in conversation]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        tokens = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
        )
        expected.append(tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True).strip())
    assert texts(chat(folder, temperature=0), CONVERSATIONS) == expected
    assert len(set(expected)) > 1


@pytest.mark.numerics
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_reply_does_not_depend_on_the_other_conversations(folder, temperature):
    together = texts(chat(folder, temperature=temperature, batch_size=8), CONVERSATIONS)
    for batch_size in (1, 2, 3):
        model = chat(folder, temperature=temperature, batch_size=batch_size)
        assert texts(model, CONVERSATIONS[::-1]) == together[::-1]
    alone = [texts(chat(folder, temperature=temperature), [turns])[0] for turns in CONVERSATIONS]
    assert alone == together


def test_replies_differ_between_samples_and_seeds_and_are_reproducible(folder):
    model = chat(folder, temperature=1.0)
    first, second = texts(model, CONVERSATIONS), texts(model, CONVERSATIONS, sample=1)
    assert first != second
    assert texts(chat(folder, temperature=1.0), CONVERSATIONS, sample=1) == second
    assert texts(chat(folder, temperature=1.0, seed=1), CONVERSATIONS) != first
    assert first[0] == first[3]  # the same conversation


def test_sampling_does_not_change_the_global_generator(folder):
    import torch

    torch.manual_seed(3)
    state = torch.get_rng_state()
    texts(chat(folder, temperature=1.0), CONVERSATIONS)
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_are_sampled_with_their_probabilities():
    import torch

    logits = torch.tensor([[1.0, 0.0, -1.0, 0.5]])
    noise = transformers_chat._Noise([5], temperature=0.5)
    samples = [int(noise(torch.zeros(1, 1), logits).argmax()) for _ in range(4000)]
    expected = torch.softmax(logits[0] / 0.5, dim=0).numpy()
    frequencies = np.bincount(samples, minlength=4) / len(samples)
    # Four standard deviations of a frequency, at most.
    np.testing.assert_allclose(frequencies, expected, atol=4 * np.sqrt(0.25 / len(samples)))


def test_a_conversation_that_is_too_long_fails_alone(folder):
    long = [Message("user", "x" * 300)]
    replies = dict(chat(folder).reply([long, CONVERSATIONS[0]]))
    assert "tokens, the limit is 244" in str(replies[0].failure)
    assert replies[0].text is None
    assert replies[1].failure is None


def test_the_weights_are_loaded_once_at_the_first_use(folder, tmp_path):
    TransformersChat(str(tmp_path / "nowhere"))  # nothing is read
    texts(chat(folder), CONVERSATIONS[:1])
    before = transformers_chat._load.cache_info().misses
    texts(chat(folder, seed=3, batch_size=2), CONVERSATIONS[:1])
    assert transformers_chat._load.cache_info().misses == before


def test_the_fingerprint_follows_content_and_settings(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    original = chat(folder).fingerprint()
    assert chat(copy, batch_size=3).fingerprint() == original
    assert chat(folder, temperature=0.5).fingerprint() != original
    assert chat(folder, seed=5).fingerprint() != original
    assert chat(folder, precision="bf16").fingerprint() != original
    (copy / "chat_template.jinja").write_text(TEMPLATE + " ")
    assert chat(copy).fingerprint() != original


def test_it_implements_the_protocol_and_has_the_models_name():
    model = TransformersChat("HuggingFaceTB/SmolLM2-1.7B-Instruct")
    assert isinstance(model, LanguageModel)
    assert (model.account, model.max_tokens) == (None, 64)
    assert model.name == "SmolLM2-1.7B-Instruct"


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    copy = tmp_path / "bare"
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="no chat template"):
        texts(chat(copy), CONVERSATIONS)


def test_the_error_names_missing_and_damaged_weights(folder, tmp_path):
    with pytest.raises(InputError, match=r"SmolLM2-1\.7B-Instruct"):
        texts(TransformersChat("org/SmolLM2-1.7B-Instruct"), CONVERSATIONS)
    copy = tmp_path / "damaged"
    shutil.copytree(folder, copy)
    (copy / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="cannot load a chat model"):
        texts(chat(copy), CONVERSATIONS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"sampling": Sampling(temperature=None, seed=0)}, "sampling.temperature is null"),
        ({"sampling": Sampling(seed=None)}, "sampling.seed is null"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=f"language_model.{message}"):
        TransformersChat("x", **settings)


def test_no_model_is_loaded_for_no_conversations():
    assert list(TransformersChat("nowhere").reply([])) == []


@pytest.mark.gpu
def test_on_a_gpu_a_reply_does_not_depend_on_the_other_conversations(folder):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    together = texts(chat(folder, device="cuda", temperature=0.7), CONVERSATIONS)
    alone = chat(folder, device="cuda", temperature=0.7, batch_size=1)
    assert texts(alone, CONVERSATIONS) == together
    assert any(texts(chat(folder, device="cuda", precision="bf16"), CONVERSATIONS))
