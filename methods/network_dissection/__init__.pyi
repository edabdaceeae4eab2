from .network_dissection import NetworkDissection

__all__ = ["NetworkDissection"]
