"""The image-text model's tokenizer: byte-level pairs, so that every English word has tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...harness.files import atomic_path, write_json

PAD, START, END = "<pad>", "<start>", "<end>"
PAD_ID, END_ID = 0, 2
VOCABULARY = 1536


def train_tokenizer(texts: Iterable[str], folder: Path, context: int) -> None:
    """Learns a tokenizer from texts and writes it into a folder, in Hugging Face's format."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])  # pyright: ignore
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single=f"{START} $A {END}", special_tokens=[(START, 1), (END, END_ID)]
    )
    with atomic_path(folder / "tokenizer.json") as file:
        tokenizer.save(str(file))
    # By hand: the class that every version of transformers since 4 knows by this name.
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    write_json(
        folder / "tokenizer_config.json",
        {**names, "pad_token": PAD, "bos_token": START, "eos_token": END},
    )
