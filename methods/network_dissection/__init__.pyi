from .network_dissection import NetworkDissection
from .tally import Tally

__all__ = ["NetworkDissection", "Tally"]
