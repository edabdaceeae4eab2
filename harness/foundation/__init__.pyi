from .caption_cache import cached_captions
from .captioners import Blip, Blip2, CaptionDecoding
from .chat_captioner import ChatCaptioner
from .chat_settings import ChatServer, Sampling
from .concept_captioner import ConceptCaptioner
from .conversations import no_language_model
from .huggingface_encoder import HuggingFaceEncoder
from .image_cache import cached_images
from .image_generators import Diffusers, DrawSettings, Rendered
from .key_phrases import KeyPhrases
from .open_clip_encoder import OpenClipEncoder
from .openai_chat import OpenAIChat
from .pricing import Budget
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
from .sentence_encoders import SentenceTransformerEncoder
from .token_vectors import TokenVectors
from .transformers_chat import TransformersChat

__all__ = [
    "Blip",
    "Blip2",
    "Budget",
    "CachedLanguageModel",
    "CaptionDecoding",
    "Captioner",
    "ChatCaptioner",
    "ChatServer",
    "ConceptCaptioner",
    "Diffusers",
    "DrawSettings",
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
    "Sampling",
    "SentenceEncoder",
    "SentenceTransformerEncoder",
    "TokenVectors",
    "TransformersChat",
    "cached_captions",
    "cached_images",
    "no_language_model",
]
