"""Configs that come with the package, by name; and the commands that a user has."""

import posixpath
import sys
from pathlib import Path

import pytest
import toy
import yaml
from detectron2.config import get_cfg

from crnas_d2 import add_crnas_config, genotype_file
from crnas_d2.config import installation, load_config, spell

RCNN = "crnas_d2://configs/Base-RCNN-FPN.yaml"


def test_a_name_is_the_file_of_the_clone():
    name = "crnas_d2://projects/CR-NAS/configs/searched/mask_rcnn_CR-R50_FPN_1x.yaml"
    file = toy.ROOT / name.removeprefix("crnas_d2://")
    assert load_config(name, []) == load_config(str(file), [])
    genotype = installation.shipped_file("crnas_d2://genotypes/CR-NAS/CR-R50.yaml")
    assert genotype == Path(genotype_file("CR-NAS/CR-R50"))


def test_every_shipped_config_finds_what_it_inherits_from_by_name(tmp_path, monkeypatch):
    """Files of the clone; and what a search has found, below the working directory."""
    monkeypatch.chdir(tmp_path)
    folders = ("configs", "projects", "crnas_d2/genotypes")
    files = [file for folder in folders for file in sorted(toy.ROOT.glob(f"{folder}/**/*.yaml"))]
    assert len(files) >= 200
    found = set()
    for file in files:
        name = f"crnas_d2://{file.relative_to(toy.ROOT)}"
        assert installation.shipped_file(name) == file
        bases = yaml.load(file.read_text(), yaml.CSafeLoader).get("_BASE_", [])
        for base in [bases] if isinstance(bases, str) else bases:
            below_clone = (file.parent / base).resolve().relative_to(toy.ROOT)
            where = tmp_path if below_clone.parts[0] == "output" else toy.ROOT
            inherited = installation.shipped_file(f"{posixpath.dirname(name)}/{base}")
            assert inherited == where / below_clone
            found.add(where)
    assert found == {tmp_path, toy.ROOT}


def test_names_work_in_base_and_in_detectron2s_own_config(tmp_path):
    genotype = "crnas_d2://genotypes/CR-NAS/CR-R50.yaml"
    (tmp_path / "mine.yaml").write_text(f'_BASE_: ["{RCNN}", "{genotype}"]\n')
    ours = load_config(str(tmp_path / "mine.yaml"), [])
    assert ours.MODEL.GENOTYPE.DEPTHS == [1, 3, 5, 7]
    cfg = get_cfg()
    add_crnas_config(cfg)
    cfg.merge_from_file("crnas_d2://configs/letters/supernet-stage.yaml")  # has a _BASE_
    assert load_config(str(toy.SUPERNET), []).MODEL.SUPERNET == cfg.MODEL.SUPERNET
    assert cfg.MODEL.SUPERNET.SPACE == "stage"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("configs/letters/basline.yaml", "Did you mean crnas_d2://configs/letters/baseline.yaml"),
        ("CR-NAS/supernet/stage-R50.yaml", r"Did you mean .*CR-NAS/configs/supernet/stage-R50\.ya"),
        ("nonsense", "There are crnas_d2://configs/,"),
        ("configs/../train_net.py", "No config is named"),
        ("configs/../../../etc/passwd", "No config is named"),
        ("configs", "No config is named"),
    ],
)
def test_an_unknown_name_says_what_is_near(name, words):
    with pytest.raises(ValueError, match=words):
        load_config(f"crnas_d2://{name}", [])


def test_an_unknown_name_in_base_names_both_files_and_no_shipped_file_is_written(tmp_path):
    (tmp_path / "mine.yaml").write_text('_BASE_: "crnas_d2://configs/Base-RCN-FPN.yaml"\n')
    with pytest.raises(ValueError, match=r"mine\.yaml inherits from .*Base-RCN-FPN.*Did you mean"):
        load_config(str(tmp_path / "mine.yaml"), [])
    with pytest.raises(ValueError, match="cannot be written"):
        installation.PathManager.open(RCNN, "w")


def test_a_command_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.chdir(toy.ROOT)
    command = spell("train", "--config-file", Path("a b.yaml"))
    assert command == "python train_net.py --config-file 'a b.yaml'"
    assert spell("compare") == "python tools/compare_networks.py"
    assert spell("predict") == "python -m crnas_d2 predict"
    for script in installation._SCRIPTS.values():
        assert (toy.ROOT / script).is_file()
    monkeypatch.chdir(tmp_path)
    assert spell("search") == f"python {toy.ROOT / 'search_net.py'}"
    monkeypatch.setattr(installation, "is_installed", lambda: True)
    monkeypatch.setattr(installation.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert spell("search", "--resume") == "crnas-d2 search --resume"
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    assert spell("search", "--resume") == f"{sys.executable} -m crnas_d2 search --resume"
