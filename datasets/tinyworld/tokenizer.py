"""Trains the tokenizer of the image-text model: byte-level BPE, so that every word has tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...harness.files import atomic_path, write_json

PAD, START, END = "<pad>", "<start>", "<end>"
# The trainer numbers the special tokens first, in their order.
PAD_ID, END_ID = 0, 2
VOCABULARY = 1536


def train_tokenizer(texts: Iterable[str], folder: Path, context: int) -> None:
    """Trains a tokenizer on texts and writes it to a folder, in Hugging Face's format.

    Args:
        texts: training texts.
        folder: folder to write to.
        context: maximum number of tokens of a text.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])  # pyright: ignore
    # With a space before the first word, it has the same tokens there as inside a text.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        # All bytes, also those that no training text contains.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single=f"{START} $A {END}", special_tokens=[(START, 1), (END, END_ID)]
    )
    with atomic_path(folder / "tokenizer.json") as file:
        tokenizer.save(str(file))
    # Written here and not by save_pretrained, which names a class that older versions of transformers do
    # not know.
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    write_json(
        folder / "tokenizer_config.json",
        {**names, "pad_token": PAD, "bos_token": START, "eos_token": END},
    )
