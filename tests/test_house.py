"""The project's own papers agree with one another."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import occfer

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    Requirement(line.split("#")[0])
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line.split("#")[0].strip()
]
THE_NINE = [
    "torch",
    "torchvision",
    "jupyter-book",
    "jupytext",
    "matplotlib",
    "seaborn",
    "facenet-pytorch",
    "nbval",
    "pytest",
]


def bounds(requirements: list[Requirement]) -> dict[str, SpecifierSet]:
    """The version bounds of each package."""
    return {canonicalize_name(each.name): each.specifier for each in requirements}


def declared() -> list[Requirement]:
    """What pyproject.toml says the library, the book and the tests need."""
    extras = PROJECT["optional-dependencies"]
    return [Requirement(r) for r in PROJECT["dependencies"] + extras["book"] + extras["test"]]


def test_requirements_and_pyproject_name_the_same_packages_and_bounds() -> None:
    assert bounds(REQUIREMENTS) == bounds(declared())


def test_no_package_is_listed_twice() -> None:
    assert len(bounds(REQUIREMENTS)) == len(REQUIREMENTS)
    assert len(bounds(declared())) == len(declared())


def test_the_nine_come_first() -> None:
    assert [each.name for each in REQUIREMENTS[:9]] == THE_NINE


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda each: each.name)
def test_bounds_are_closed_and_hold_here(requirement: Requirement) -> None:
    operators = {each.operator for each in requirement.specifier}
    assert operators in ({"=="}, {">=", "<"})
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name))


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    versions = {PROJECT["version"], citation["version"], importlib.metadata.version("occfer")}
    assert versions == {occfer.__version__}


def test_every_name_of_the_library_is_there_and_no_other() -> None:
    assert {name for name in dir(occfer) if not name.startswith("_")} >= set(occfer.__all__)
    for name in occfer.__all__:
        assert getattr(occfer, name) is not None, name
    with pytest.raises(AttributeError, match="module 'occfer' has no attribute 'unheard_of'"):
        occfer.unheard_of  # noqa: B018


def test_the_package_alone_imports_nothing_that_can_fail() -> None:

    code = "import occfer, sys; print('torch' in sys.modules, 'occfer.recipes' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout == "False False\n", told.stderr


def test_one_repository_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    address = PROJECT["urls"]["Repository"]
    assert {citation["repository-code"], config["repository"]["url"]} == {address}
    assert address in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_workflows_test_the_oldest_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    pythons = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert "3.12" in pythons


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_make_alone_explains_every_target() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    explained = re.findall(r"^  (\w+) +\w", make().stdout, flags=re.MULTILINE)
    assert explained == phony.split()


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1"\nexit 1\n')
    old.chmod(0o755)
    for python, came in ((old, "is Python 3.9.1"), (tmp_path / "none", "there is no")):
        told = make("site", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
        assert told.returncode != 0
        assert "needs Python 3.11 or later" in told.stderr
        assert came in told.stderr
    assert not (tmp_path / "venv").exists()


def test_no_committed_text_names_the_place_it_was_written_in() -> None:
    listed = subprocess.run(
        ["git", "grep", "--fixed-strings", "-lI", str(ROOT)], cwd=ROOT, capture_output=True
    )
    assert (listed.returncode, listed.stdout) == (1, b""), listed.stderr
