from .page import content_security_policy, environment, json_block
from .svg import bars, outline

__all__ = ["bars", "content_security_policy", "environment", "json_block", "outline"]
