"""tools/install_detectron2.py: what it packs, what it refuses, what it leaves alone."""

import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "install_detectron2.py"
INSTALLER = ROOT / "crnas_d2" / "verbs" / "install_detectron2.py"


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("install_detectron2", INSTALLER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def labgym_wheel(tmp_path):
    """A wheel laid out like LabGym's: its own code, and Detectron2 under its own prefix."""
    model = (
        "import LabGym.detectron2  # noqa\nfrom LabGym.detectron2.config import CfgNode\n"
        'NAME = "LabGym.detectron2._C"\n'
    )
    files = {
        "LabGym/__init__.py": "",
        "LabGym/detectron2/zoo/__init__.py": "",
        "LabGym/detectron2/zoo/model.py": model,
        "LabGym/detectron2/__init__.py": '__version__ = "0.6"\n',
        "LabGym/detectron2/config.py": "class CfgNode(dict):\n    pass\n",
        "LabGym/detectron2/zoo/Base.yaml": '_target_: "LabGym.detectron2.x"\n',
        "labgym-3.1.2.dist-info/METADATA": "Name: LabGym\n",
    }
    path = tmp_path / "labgym-3.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path


def assert_record_verifies(wheel: Path) -> None:
    """Every entry but RECORD itself is listed with its own hash and size, and nothing else is."""
    with zipfile.ZipFile(wheel) as archive:
        (record_name,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        rows = [row.split(",") for row in archive.read(record_name).decode().splitlines()]
        assert sorted(name for name, _, _ in rows) == sorted(archive.namelist())
        for name, digest, size in rows:
            if name == record_name:
                continue
            content = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            assert digest == "sha256=" + expected.rstrip("="), name
            assert int(size) == len(content), name


def test_the_wheel_holds_detectron2_alone_with_its_own_imports_and_licence(
    tool, labgym_wheel, tmp_path
):
    wheel = tool.build_wheel(labgym_wheel, tmp_path)
    content, info = wheel.read_bytes(), "detectron2-0.6.dist-info"
    assert tool.build_wheel(labgym_wheel, tmp_path).read_bytes() == content
    assert wheel.name == "detectron2-0.6-py3-none-any.whl"
    assert_record_verifies(wheel)
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"detectron2", info}
        assert archive.read("detectron2/zoo/model.py").decode() == (
            "import detectron2  # noqa\nfrom detectron2.config import CfgNode\n"
            'NAME = "detectron2._C"\n'
        )
        assert archive.read("detectron2/zoo/Base.yaml") == b'_target_: "detectron2.x"\n'
        for file, words in (
            ("LICENSE", "Apache License"),
            ("NOTICE", "Copyright 2019, Facebook, Inc"),
            ("METADATA", "License: Apache-2.0\n"),
            ("METADATA", "Home-page: https://github.com/facebookresearch/detectron2\n"),
            ("METADATA", "Requires-Dist: setuptools<81\n"),
            ("METADATA", "upstream commit 864913f0"),
        ):
            assert words in archive.read(f"{info}/{file}").decode()
    imported = subprocess.run(
        [sys.executable, "-S", "-c", "from detectron2.zoo.model import CfgNode, NAME; print(NAME)"],
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert imported.stdout.strip() == "detectron2._C", imported.stderr


@pytest.mark.parametrize("is_there", [True, False])
def test_a_wheel_that_is_not_the_known_one_is_refused(
    tool, is_there, labgym_wheel, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(tool, "find_detectron2", lambda: None)
    monkeypatch.setattr(tool, "pip", lambda *_, hint: pytest.fail("pip was called"))
    wheel = labgym_wheel if is_there else tmp_path / "none.whl"
    assert tool.main(["--labgym-wheel", str(wheel)]) == 1
    message = capsys.readouterr().err
    if is_there:
        digest = hashlib.sha256(labgym_wheel.read_bytes()).hexdigest()
        assert all(word in message for word in (tool.LABGYM_SHA256, digest, "--source git"))
    else:
        assert "none.whl is not a file" in message


@pytest.mark.parametrize("source", ["index", "git"])
def test_failing_pip_is_one_message_with_the_command(tool, source, monkeypatch, capsys):
    monkeypatch.setattr(tool, "find_detectron2", lambda: None)
    failed = subprocess.CompletedProcess([], returncode=1)
    monkeypatch.setattr(tool.subprocess, "run", lambda _: failed)
    assert tool.main(["--source", source]) == 1
    message = capsys.readouterr().err
    assert f"{sys.executable} -m pip" in message
    assert "--source" in message.split("pip", maxsplit=1)[1]  # names the other way


@pytest.mark.parametrize("source", ["index", "git"])
def test_importable_detectron2_is_left_alone(tool, source, tmp_path, monkeypatch, capsys):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").write_text('raise RuntimeError\n__version__ = "9.9"\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "detectron2", raising=False)
    monkeypatch.setattr(tool, "pip", lambda *_, hint: pytest.fail("pip was called"))

    assert tool.main(["--source", source]) == 0

    output = capsys.readouterr().out
    assert "9.9" in output
    assert str(package) in output


def test_empty_folder_named_detectron2_is_no_detectron2(tool, tmp_path, monkeypatch):
    (tmp_path / "detectron2").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "detectron2", raising=False)
    assert tool.find_detectron2() is None


def test_without_detectron2_the_command_says_how_to_install_it(tmp_path):
    start = "import sys; sys.argv[0] = 'crnas-d2'; from crnas_d2.verbs.main import main; main()"

    def run(*arguments):  # -S: no installed packages
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )

    refused = run("-c", start, "train", "--config-file", "a.yaml")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr == (
        "crnas-d2: Detectron2 is not installed: run crnas-d2 install-detectron2.\n"
    )
    listed = run("-c", start, "--help").stdout
    assert "  train " in listed and "  install-detectron2 " in listed
    assert "Did you mean train?" in run("-c", start, "trian").stderr
    explained = run("-c", start, "install-detectron2", "--help")
    assert explained.stdout.startswith("usage: crnas-d2 install-detectron2 "), explained.stderr
    assert run(str(TOOL), "--help").stdout.startswith("usage: install_detectron2.py ")


@pytest.mark.slow
def test_install_and_uninstall_in_a_fresh_environment(tmp_path):
    """Needs the package index. Without dependencies: seconds, and torch is not downloaded."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> str:
        result = subprocess.run(
            [python, *command], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def installed_files() -> set[Path]:
        (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
        return {path for path in packages.iterdir() if path.name != "__pycache__"}

    before = installed_files()
    run(str(TOOL), "--no-deps")

    added = installed_files() - before
    assert {path.name for path in added} == {"detectron2", "detectron2-0.6.dist-info"}
    assert "detectron2 0.6" in " ".join(run("-m", "pip", "list").split())
    metadata = run("-m", "pip", "show", "--files", "detectron2")
    assert "License: Apache-2.0" in metadata
    assert "detectron2-0.6.dist-info/LICENSE" in metadata
    (package,) = (path for path in added if path.name == "detectron2")
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".yaml")]
    assert len(sources) == 306
    assert not [path for path in sources if b"LabGym" in path.read_bytes()]
    assert "left alone" in run(str(TOOL))

    run("-m", "pip", "uninstall", "--yes", "detectron2")
    assert installed_files() == before
