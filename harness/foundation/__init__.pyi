from .protocols import (
    Captioner,
    ImageGenerator,
    ImageTextEncoder,
    LanguageModel,
    Message,
    Reply,
    SentenceEncoder,
)

__all__ = [
    "Captioner",
    "ImageGenerator",
    "ImageTextEncoder",
    "LanguageModel",
    "Message",
    "Reply",
    "SentenceEncoder",
]
