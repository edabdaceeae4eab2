"""Small studies with real JPEG files, for tests of what raters see."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dissectbench.results.studies import KeyRow, Study, StudyFiles, StudySettings, Task, write_study
from dissectbench.results.studies.study import Kind, image_name, task_id

METHODS = ("method_of_alder", "method_of_birch", "method_of_cedar", "method_of_dogwood")
LAYERS = ("encoder.fourth_stage", "encoder.fifth_stage")
TARGET = "network_of_elm"
# So long that no hash in a page contains it by chance.
FIRST_UNIT = 7_000_000_001
_WORDS = ("striped fur", "blue sky", "round wheels", "green leaves", "human faces", "brick walls")


def jpeg(seed: int, size: int = 96) -> bytes:
    """A JPEG of coloured rectangles."""
    generator = np.random.default_rng(seed)
    pixels = np.zeros((size, size, 3), np.uint8) + generator.integers(40, 216, 3, dtype=np.uint8)
    for _ in range(4):
        (y, x), (h, w) = generator.integers(0, size // 2, 2), generator.integers(8, size // 2, 2)
        pixels[y : y + h, x : x + w] = generator.integers(0, 256, 3, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return file.getvalue()


def small_study(
    path: Path,
    *,
    kind: Kind = "rating",
    units: int = 10,
    images: int = 10,
    checks: int = 1,
    repeats: int = 0,
    raters_per_task: int = 3,
    seed: int = 0,
) -> Study:
    """Writes a study.

    Args:
        path: its folder.
        kind: "correlation" has one image and one description per task.
        units: number of tasks about units.
        images: images per task.
        checks: number of attention checks.
        repeats: number of repeated tasks.
        raters_per_task: answers wanted of each task.
        seed: studies with different seeds have different designs.
    """
    correlation = kind == "correlation"
    methods = METHODS[:1] if correlation else METHODS
    files: dict[str, bytes] = {}
    tasks: list[Task] = []
    key: list[KeyRow] = []

    def add(name: str, texts: list[str], rows: list[KeyRow]) -> None:
        contents = [jpeg(1000 * len(tasks) + k) for k in range(1 if correlation else images)]
        names = tuple(image_name(content, ".jpg") for content in contents)
        files.update(zip(names, contents, strict=True))
        tasks.append(Task(name, names, tuple(texts)))
        key.extend(rows)

    def of_unit(name: str, number: int, repeated: str = "") -> list[KeyRow]:
        role = "repeat" if repeated else "unit"
        place = (TARGET, LAYERS[number % 2], FIRST_UNIT + number)
        return [
            KeyRow(name, role, *place, slot, m, repeats=repeated) for slot, m in enumerate(methods, 1)
        ]

    texts = [[f"{_WORDS[(n + k) % 6]} & “{n}”" for k in range(len(methods))] for n in range(units)]
    names = [task_id(seed, "unit", number) for number in range(units)]
    for number, name in enumerate(names):
        add(name, texts[number], of_unit(name, number))
    for number in range(checks):
        name = task_id(seed, "check", number)
        expected = "yes" if correlation else "best"
        check_texts = ["a check: please choose this one", *texts[0][1:]]
        add(name, check_texts, [KeyRow(name, "attention", "", "", None, 1, "", expected)])
    for number in range(repeats):
        name = task_id(seed, "repeat", number)
        add(name, texts[number], of_unit(name, number, names[number]))
    settings = StudySettings(
        kind=kind,
        title="Rate short descriptions of images",
        seed=seed,
        raters_per_task=raters_per_task,
        methods=methods,
        layers=LAYERS,
        reward_usd=0.25,
    )
    instructions = "# What to do\n\nLook at the images, then rate *every* description."
    consent = (
        "You take part in a study of how well short texts describe images.\n\nYou may stop at any time."
    )
    return write_study(path, settings, StudyFiles(tasks, key, files, instructions, consent))
