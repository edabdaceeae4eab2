"""Versions that are stated in several project files agree."""

import re
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")  # pyright: ignore[reportOptionalSubscript]


def pins(repository):
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    split = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name_of(name): version for name, version in split}


def test_every_direct_dependency_is_pinned_and_nothing_else(repository, project):
    extras = project["optional-dependencies"].values()
    required = {name_of(line) for lines in (project["dependencies"], *extras) for line in lines}
    assert set(pins(repository)) == required - {"dissectbench"}


def test_the_lower_bounds_allow_the_pinned_versions(repository, project):
    from packaging.requirements import Requirement

    extras = project["optional-dependencies"].values()
    for line in [line for lines in (project["dependencies"], *extras) for line in lines]:
        requirement = Requirement(line)
        if requirement.name != "dissectbench":
            assert requirement.specifier.contains(pins(repository)[name_of(line)]), line


def test_python_versions_agree(repository, project):
    listed = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={listed[0]}"
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert f"Python {listed[0]} to {listed[-1]}" in readme
    tools = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["pyright"]["pythonVersion"] == listed[0]
    assert tools["ruff"]["target-version"] == f"py{listed[0].replace('.', '')}"
    workflow = yaml.safe_load((repository / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    [setup] = [step["with"] for step in workflow["jobs"]["check"]["steps"] if "with" in step]
    assert setup["python-version"] in listed


def test_pre_commit_runs_the_pinned_version_of_ruff(repository):
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["rev"] for repo in hooks["repos"]] == [f"v{pins(repository)['ruff']}"]


def test_the_citation_has_the_version_and_one_paper_per_method(repository, project):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["license"] == project["license"]
    papers = {paper["authors"][0]["family-names"]: paper["year"] for paper in citation["references"]}
    assert papers == {"Bau": 2017, "Oikarinen": 2023, "Hernandez": 2022, "Bai": 2025}
