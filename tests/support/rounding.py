"""How far two float32 computations of the same value may be apart."""

import math

UNIT_ROUNDOFF = 2.0**-24


def rounding(terms: int, depth: int, largest: float) -> float:
    """Returns the tolerance between two orders of summation, as other kernels or shapes have them.

    A float32 sum of n terms is off by about sqrt(n) unit roundoffs of the size of its result: the errors
    of the additions have random signs. The errors of successive layers add up.

    Args:
        terms: of the longest sum, such as the widest layer of a network.
        depth: layers that follow each other.
        largest: of the absolute values compared.
    """
    return depth * math.sqrt(terms) * UNIT_ROUNDOFF * largest
