"""Builds the wheel and the sdist of a copy of the clone."""

import shutil
import subprocess
import sys

import toy

BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])('.'))"
# What a build reads; not what runs, editors and tests leave in a clone.
SOURCES = ("crnas_d2", "configs", "projects", "examples", "tools", "docs")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "Makefile")


def copy_sources(folder):
    """A copy of what is built, so that the clone stays as it is."""
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(toy.ROOT / name, folder / name, ignore=leftovers)
    for name in (*FILES, "constraints.txt", "train_net.py", "search_net.py"):
        shutil.copy(toy.ROOT / name, folder)
    return folder


def build(what, folder):
    """Builds ``"wheel"`` or ``"sdist"`` in a folder with the sources; the file."""
    command = [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{what}"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder / finished.stdout.splitlines()[-1]
