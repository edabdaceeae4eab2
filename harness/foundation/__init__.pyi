from .caption_cache import cached_captions
from .captioners import Blip, Blip2
from .chat_captioner import ChatCaptioner
from .concept_captioner import ConceptCaptioner
from .conversations import no_language_model
from .image_cache import cached_images
from .image_generators import Diffusers, Rendered
from .image_text_encoders import HuggingFaceEncoder, OpenClipEncoder
from .key_phrases import KeyPhrases
from .openai_chat import OpenAIChat
from .protocols import (
    Captioner,
    ImageGenerator,
    ImageTextEncoder,
    LanguageModel,
    Message,
    Reply,
    SentenceEncoder,
)
from .reply_cache import CachedLanguageModel
from .sentences import SentenceTransformerEncoder
from .token_vectors import TokenVectors
from .transformers_chat import TransformersChat

__all__ = [
    "Blip",
    "Blip2",
    "CachedLanguageModel",
    "Captioner",
    "ChatCaptioner",
    "ConceptCaptioner",
    "Diffusers",
    "HuggingFaceEncoder",
    "ImageGenerator",
    "ImageTextEncoder",
    "KeyPhrases",
    "LanguageModel",
    "Message",
    "OpenAIChat",
    "OpenClipEncoder",
    "Rendered",
    "Reply",
    "SentenceEncoder",
    "SentenceTransformerEncoder",
    "TokenVectors",
    "TransformersChat",
    "cached_captions",
    "cached_images",
    "no_language_model",
]
