"""Fixtures shared by all tests."""

import os
from pathlib import Path

import hypothesis
import pytest

# Tests never use the network: what is not in a local folder or cache is missing.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# pytest-xdist runs one worker per core; more threads than cores would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No time limit for an example: a test must not fail because the machine is busy.
hypothesis.settings.register_profile("dissectbench", deadline=None)
hypothesis.settings.load_profile("dissectbench")


REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests belong to."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data next to the checkout; tests that need it skip without it."""
    folder = Path(os.environ.get("DISSECTBENCH_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"reference data not found at {folder} (set DISSECTBENCH_SHARED)")
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache; `support.hub_cache.add_revision` fills it."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder
