"""Writes small probing sets and lists of names into a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_small_data(folder: Path) -> Path:
    """Writes `set/` (two classes of one image), `broden/` (one image) and `names.txt` (two names)."""
    for name in ("set/ant", "set/bee", "broden/images"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / name / "1.png")
    tables = {
        "index": "image,split,ih,iw,sh,sw,scene\n1.png,val,4,6,2,3,1\n",
        "category": "name\nscene\n",
        "label": "number,name\n1,street-s\n",
        "c_scene": "number,coverage\n1,1\n",
    }
    for name, content in tables.items():
        (folder / "broden" / f"{name}.csv").write_text(content)
    (folder / "names.txt").write_text("ant\nbee\n")
    return folder
