"""The tool that replays a finished search as races."""

import csv
import runpy
import sys

import numpy as np
import pytest
import toy

from crnas_d2.config import NetworkSpec
from crnas_d2.evaluation import ImageHits, NoiseFiles

TOOL = str(toy.ROOT / "tools" / "replay_racing.py")
NUM_IMAGES = 400
EVOLUTION = ["SEARCH.ALGORITHM", "evolution", "SEARCH.EVOLUTION.POPULATION", "4"]


@pytest.fixture
def replay(monkeypatch, capsys, tmp_path):
    def replay(*arguments):
        monkeypatch.setattr(sys, "argv", [TOOL, str(tmp_path), "--number", "3", *arguments])
        runpy.run_path(TOOL, run_name="__main__")
        return capsys.readouterr().out

    return replay


def write_search(folder, *, images="", kept=True):
    """What a search of 16 networks leaves: each additional block finds 5 % more of the images."""
    cfg = toy.supernet_config({"OUTPUT_DIR": str(folder)})
    (folder / "config.yaml").write_text(cfg.dump())
    space = NetworkSpec.from_config(cfg).space
    hard, files = np.random.default_rng(0).random(NUM_IMAGES), NoiseFiles(folder)
    with (folder / "candidates.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*space.names, "fitness", "images"])
        for genotype in space:
            # The first stages matter more, so that no two networks are alike.
            skill = 0.06 * np.dot(genotype.depths, (1.6, 1.2, 1, 0.7))
            results = ImageHits(hard < skill)
            fitness = 100 * float(results.hits.mean())
            if kept:
                files.write(genotype, fitness, results)
            writer.writerow([*space.values(genotype).values(), fitness, images])


def test_races_find_what_all_images_find_at_a_part_of_the_work(replay, tmp_path):
    write_search(tmp_path)
    text = replay()
    assert "3 races of exhaustive, 16 candidates, 1 of them on all images at least" in text
    assert "the same network: 3 of 3 searches" in text
    share = float(text.split("images: ")[1].split("%")[0])
    assert 12.5 <= share < 60  # the smallest part is an eighth: 50 images
    assert replay() == text  # the same draws
    more = ["SEARCH.EVOLUTION.GENERATIONS", "3", "SEARCH.EVOLUTION.PARENTS", "2"]
    evolved = replay(*EVOLUTION, *more)
    assert "3 races of evolution, 12 candidates, 2 of them on all" in evolved
    assert "the same network: 3 of 3 searches" in evolved


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SEARCH.ALGORITHM", "greedy"], "is 'greedy'; expected 'exhaustive' or 'evolution'"),
        ([*EVOLUTION, "SEARCH.EVOLUTION.GENERATIONS", "9"], "asks for 36 candidates, .* has 16"),
        (["SEARCH.RACING.CONFIDENCE", "2.0"], "CONFIDENCE is 2.0; expected"),
        (["--num-workers", "0"], "--num-workers is 0; expected at least 1"),
    ],
)
def test_what_cannot_be_replayed_is_refused(replay, tmp_path, arguments, words):
    write_search(tmp_path)
    with pytest.raises(SystemExit, match=words):
        replay(*arguments)


def test_what_is_no_finished_search_is_refused(replay, tmp_path):
    with pytest.raises(SystemExit, match="holds no search: there is no config"):
        replay()
    write_search(tmp_path, images="50")
    with pytest.raises(SystemExit, match="holds a race; replay a search that scored all images"):
        replay()
    for file in (tmp_path / "noise").iterdir():
        file.unlink()
    write_search(tmp_path, kept=False)
    with pytest.raises(SystemExit, match="image results of 0 of 16 candidates"):
        replay()
    (tmp_path / "candidates.csv").unlink()
    with pytest.raises(SystemExit, match="no finished search: there is no candidates"):
        replay()
