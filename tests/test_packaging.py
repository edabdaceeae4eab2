"""The package installs under one name, hides no other package, and imports nothing heavy."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *("torch", "torchvision", "transformers", "diffusers", "open_clip", "pandas"),
    *("sentence_transformers", "scipy", "skimage", "hydra", "bert_score", "timm", "openai"),
)


def python(code: str, cwd: Path, *flags: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_folder_datasets_has_no_init_file(repository):
    assert not (repository / "datasets" / "__init__.py").exists()


def test_from_the_checkout_import_datasets_finds_hugging_face(repository):
    pytest.importorskip("datasets")
    found = python("import datasets; print(datasets.__file__)", repository)
    assert "site-packages" in found
    assert str(repository / "datasets") not in found


@pytest.mark.slow
def test_from_the_checkout_sentence_transformers_imports(repository):
    assert python("import sentence_transformers; print('fine')", repository) == "fine"


@pytest.mark.slow
def test_with_python_m_the_checkout_hides_nothing(repository, tmp_path):
    pytest.importorskip("datasets")
    done = subprocess.run(
        [sys.executable, "-m", "timeit", "-n1", "-r1", "import datasets; datasets.Dataset"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_inside_pytest_datasets_is_not_our_folder(repository):
    datasets = pytest.importorskip("datasets")
    assert not str(datasets.__file__).startswith(str(repository / "datasets"))


@pytest.mark.parametrize("package", ["harness", "methods", "metrics", "results"])
def test_a_package_refuses_its_bare_name(repository, package):
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"dissectbench.{package}" in done.stderr


def test_the_package_list_is_what_is_on_disk(repository):
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'^    "dissectbench\.([\w.]+)",$', text, flags=re.MULTILINE))
    packages = ("harness", "methods", "metrics", "datasets", "results")
    on_disk = {
        ".".join(path.parent.relative_to(repository).parts)
        for package in packages
        for path in (repository / package).rglob("*.py")
    }
    assert listed == on_disk


def test_help_and_the_core_import_load_nothing_heavy(tmp_path):
    code = (
        "import sys; import dissectbench.harness.cli as cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "import dissectbench.harness.records, dissectbench.harness.run, dissectbench.harness.config\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert python(code, tmp_path).splitlines()[-1] == "LOADED []"


def test_importing_every_module_touches_no_network(repository, tmp_path):
    modules = [
        "dissectbench." + ".".join(path.relative_to(repository).with_suffix("").parts)
        for package in ("harness", "methods", "metrics", "datasets", "results")
        for path in sorted((repository / package).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    code = (
        "import socket, importlib\n"
        "def refuse(*a, **k): raise RuntimeError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print('fine')"
    )
    assert python(code, tmp_path, CUDA_VISIBLE_DEVICES="").endswith("fine")


@pytest.mark.parametrize(
    "package", ["harness", "harness.targets", "harness.activations", "methods", "metrics", "results"]
)
def test_public_names_are_importable_from_their_package(package):
    module = importlib.import_module(f"dissectbench.{package}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
