"""Install Detectron2, from a wheel on the package index or from its repository.

It has no package of its own on the index. Two sources make ``import detectron2`` work:

index  the wheel of LabGym 3.1.2, which carries an unchanged copy of Detectron2 at upstream commit
       864913f0 below ``LabGym/detectron2``. That copy alone is packed into a wheel of its own,
       under its own name and licence, and installed. Nothing of LabGym is installed.
git    the official repository, compiled on this machine (brings the C++/CUDA operators ``_C``).

A Detectron2 that can be imported already is left alone, wherever it comes from.
"""

import argparse
import base64
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
# The same Apache-2.0 text as ours: beside this file in a wheel, at the root of a clone.
LICENSE = next(
    file for file in (Path(__file__).with_name("LICENSE"), ROOT / "LICENSE") if file.exists()
)
HOME_PAGE = "https://github.com/facebookresearch/detectron2"
COMMIT = "864913f0e57e87a75c8cc0c7d79ecbd774fc669b"
VERSION = "0.6"
LABGYM = "labgym==3.1.2"
LABGYM_SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"

# install_requires of upstream's setup.py, and setuptools: detectron2.model_zoo needs pkg_resources.
REQUIREMENTS = (
    *("Pillow>=7.1", "matplotlib", "pycocotools>=2.0.2", "termcolor>=1.1", "yacs>=0.1.8"),
    *("tabulate", "cloudpickle", "tqdm>4.29.0", "tensorboard", "fvcore>=0.1.5,<0.1.6"),
    *("iopath>=0.1.7,<0.1.10", "omegaconf>=2.1,<2.4", "hydra-core>=1.1", "black", "packaging"),
    "setuptools<81",
)

METADATA = f"""Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: Detectron2 is FAIR's platform for object detection and segmentation.
Home-page: {HOME_PAGE}
Author: FAIR
License: Apache-2.0
License-File: LICENSE
License-File: NOTICE
Requires-Python: >=3.7
{{requires}}

The Python files of Detectron2 at upstream commit {COMMIT}, taken from the copy
in the wheel {LABGYM} with its import prefix turned back to `detectron2`. The compiled operators
(`detectron2._C`) are not included; rotated boxes and deformable convolution need them.
""".format(requires="\n".join(f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS))

NOTICE = f"""Detectron2 ({HOME_PAGE})
Copyright 2019, Facebook, Inc

Licensed under the Apache License, Version 2.0; see LICENSE beside this file.
"""

WHEEL = """Wheel-Version: 1.0
Generator: crnas-d2 install-detectron2
Root-Is-Purelib: true
Tag: py3-none-any
"""


class InstallError(Exception):
    """An expected failure; its text says what failed and what to do."""


def find_detectron2() -> str | None:
    """Return version and folder of the importable Detectron2, or None if there is none."""
    spec = importlib.util.find_spec("detectron2")
    # An empty folder of that name imports as a namespace package, which has no origin.
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    # Read, not imported: detectron2 imports torch, which may not be installed yet.
    version = re.search(r'^__version__ = "(.+)"', origin.read_text(encoding="utf-8"), re.MULTILINE)
    return f"{version[1] if version else '(version unknown)'} in {origin.parent}"


def pip(*arguments: str, hint: str) -> None:
    """Run this interpreter's pip and show its output; ``hint`` says what to do if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command).returncode != 0:
        raise InstallError(f"failed (output above): {' '.join(command)}\n{hint}")


def check_sha256(path: Path) -> None:
    """Raise InstallError unless this is the wheel known to have an unchanged Detectron2."""
    if not path.is_file():
        raise InstallError(f"{path} is not a file. --labgym-wheel takes the wheel of {LABGYM}.")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != LABGYM_SHA256:
        raise InstallError(
            f"{path.name} is not the known wheel of {LABGYM}; it was not used.\n"
            f"  sha256 expected  {LABGYM_SHA256}\n  sha256 got       {actual}\n"
            "Download it again (`pip cache purge` drops a damaged copy), check which index pip\n"
            "uses (`pip config list`), or use --source git."
        )


def build_wheel(labgym_wheel: Path, folder: Path) -> Path:
    """Pack ``LabGym/detectron2`` of ``labgym_wheel`` into a wheel of its own in ``folder``.

    Entries are sorted and have a fixed date: the same input gives the same entries and RECORD.
    """
    files = {}
    with zipfile.ZipFile(labgym_wheel) as source:
        for name in source.namelist():
            if name.startswith("LabGym/detectron2/") and not name.endswith("/"):
                content = source.read(name).replace(b"LabGym.detectron2", b"detectron2")
                files[name.removeprefix("LabGym/")] = content
    if not files:
        raise InstallError(f"{labgym_wheel.name} holds no LabGym/detectron2. Use --source git.")

    info = f"detectron2-{VERSION}.dist-info"
    texts = {"LICENSE": LICENSE.read_text(), "METADATA": METADATA, "NOTICE": NOTICE, "WHEEL": WHEEL}
    files |= {f"{info}/{name}": text.encode() for name, text in texts.items()}
    record = []
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(content)}\n")
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()

    wheel = folder / f"detectron2-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as target:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.external_attr = 0o644 << 16
            target.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


def install_from_index(labgym_wheel: Path | None, options: list[str]) -> None:
    """Install the copy in LabGym's wheel, which is downloaded unless it is given."""
    with tempfile.TemporaryDirectory() as temporary:
        if labgym_wheel is None:
            pip(
                # LabGym's own code requires Python < 3.11; its copy of Detectron2 does not.
                *("download", "--quiet", "--no-deps", "--ignore-requires-python"),
                *("--only-binary=:all:", "--dest", temporary, LABGYM),
                hint="Check that pip reaches its package index. Without a network, download that "
                "wheel on\nanother machine and pass it with --labgym-wheel; or use --source git.",
            )
            labgym_wheel = next(Path(temporary).glob("*.whl"))
        check_sha256(labgym_wheel)
        pip(
            *("install", "--quiet", *options, str(build_wheel(labgym_wheel, Path(temporary)))),
            hint="The line with ERROR says why. A dependency that cannot be found or built: "
            "install that\none first, or Detectron2 alone with --no-deps. An environment that must "
            "not be changed:\nuse a virtual environment (`make env`).",
        )


def install_from_git(ref: str, options: list[str]) -> None:
    """Compile and install the official repository."""
    pip(
        # No isolation: upstream's setup.py imports torch.
        *("install", "--no-build-isolation", *options, f"git+{HOME_PAGE}.git@{ref}"),
        hint="This needs git, a network that reaches github.com, a C++ compiler (for CUDA "
        "operators\nalso the CUDA toolkit that torch was built for), and torch, wheel and "
        "setuptools<81\ninstalled. --source index needs none of these.",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--source", choices=["index", "git"], default="index")
    add("--ref", default=COMMIT, help="git: commit, tag or branch (%(default)s)")
    add("--labgym-wheel", type=Path, help=f"index: a downloaded wheel of {LABGYM}")
    text = "pip constraints for the dependencies (default: constraints.txt of a clone)"
    usual = CONSTRAINTS if CONSTRAINTS.exists() else None
    add("--constraint", type=Path, default=usual, help=text)
    add("--no-deps", action="store_true", help="install Detectron2 alone")


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Install Detectron2 unless it can be imported; return the exit status."""
    parser = argparse.ArgumentParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    args = parser.parse_args(arguments)

    if found := find_detectron2():
        print(f"detectron2 {found}: importable, left alone")
        return 0
    options = ["--no-deps"] if args.no_deps else []
    options += ["--constraint", str(args.constraint)] if args.constraint else []
    try:
        if args.source == "index":
            install_from_index(args.labgym_wheel, options)
        else:
            install_from_git(args.ref, options)
        importlib.invalidate_caches()
        if (found := find_detectron2()) is None:
            raise InstallError(f"pip installed it where {sys.executable} looks for no modules.")
    except InstallError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"detectron2 {found}: installed")
    if importlib.util.find_spec("torch") is None:
        print("It needs torch to run: pip install torch torchvision")
    return 0
