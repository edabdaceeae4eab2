"""Short names of the files and folders that a leaderboard is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


def short_names(sources: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the shortest ends of paths that differ from each other.

    Paths of the computer are not published: "/home/ada/runs/demo" is "demo", or "runs/demo" next to
    "/home/ada/old/demo".

    Args:
        sources: path and id of every bundle; of one path, the ids distinguish the names.
    """
    parts = [PurePath(path).parts for path, _ in sources]
    names: list[str] = []
    for number, path in enumerate(parts):
        others = [other for place, other in enumerate(parts) if place != number and other != path]
        length = next(
            (n for n in range(1, len(path) + 1) if all(other[-n:] != path[-n:] for other in others)),
            len(path),
        )
        names.append("/".join(path[-length:]))
    counts = Counter(names)
    repeated: Counter[str] = Counter()
    for number, name in enumerate(names):
        if counts[name] > 1:
            repeated[name] += 1
            names[number] = f"{name} ({repeated[name]})"
    return names
