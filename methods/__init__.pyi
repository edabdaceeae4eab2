from .clip_dissect import CLIPDissect
from .dnd import DescribeAndDissect
from .method import Method
from .milan import MILAN
from .network_dissection import NetworkDissection

__all__ = ["MILAN", "CLIPDissect", "DescribeAndDissect", "Method", "NetworkDissection"]
