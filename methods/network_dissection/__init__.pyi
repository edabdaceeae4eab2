from .network_dissection import NetworkDissection
from .tally import Tally

