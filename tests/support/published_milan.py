"""Writes small checkpoints in the format of the published MILAN files."""

import torch

from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.vocabulary import Vocabulary

WORDS = ("red", "round", "things", ".")
VOCABULARY = Vocabulary(WORDS, "spacy")
SIZES = DecoderSizes(len(VOCABULARY), 1024, 6, 12, 12, 0.5)
LM_SIZES = LanguageModelSizes(5, 7, 2, 0.25)


def _indexer(words=WORDS, tokeniser=None):
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


def published_content(tokeniser=None):
    """Returns the content of a small published checkpoint, without the weights of its encoder."""
    lm = {"indexer": _indexer(WORDS, tokeniser), "embedding_size": 5, "hidden_size": 7}
    properties = {
        "indexer": _indexer(WORDS, tokeniser),
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
