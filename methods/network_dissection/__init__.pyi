from .network_dissection import NetworkDissection
from .tally import Tally
from .tally_csv import write_tally_csv

__all__ = ["NetworkDissection", "Tally", "write_tally_csv"]
