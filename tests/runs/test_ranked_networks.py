"""AP against MACs and against other scores, for many networks."""

import json

import pytest

from crnas_d2.report.ranking import draw_ranking
from crnas_d2.runs.ranking import read_ranking
from crnas_d2.space import Genotype
from crnas_d2.verbs.main import main

DEPTHS = [[1, 1, 1, 1], [1, 1, 2, 4], [2, 2, 2, 2], [3, 4, 6, 3], [1, 3, 5, 7]]


def entry(index, seed=1, score=None, **more):
    ap = 10.0 * index + seed if score is None else score
    network = {"genotype": {"DEPTHS": DEPTHS[index]}, "seed": seed, "AP": ap, "AP50": ap}
    return network | {"macs": (index + 1) * 10**6, "params": 1_000} | more


def pretrained(top1):
    return {"pretraining": {"metric": "classification/top1", "score": top1}}


def write(path, key, entries):
    path.write_text(json.dumps({"command": "", key: entries}))
    return path


@pytest.fixture
def results(tmp_path):
    """Networks whose AP rises with their MACs, and falls with their accuracy but for the last."""
    accuracy = [70.0, 60.0, 50.0, 40.0, 80.0]
    runs = [entry(i, seed, **pretrained(accuracy[i] + seed)) for i in range(5) for seed in (1, 2)]
    return write(tmp_path / "results.json", "runs", runs)


def report(*arguments):
    main(["correlate", "report", *map(str, arguments)])


def lines(text):
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def test_the_accuracy_of_the_pretraining_ranks_the_networks(results, capsys):
    report(results)
    printed = capsys.readouterr().out
    assert "top-1" in printed.splitlines()[2]  # a column of the networks
    ranked = lines(printed.split("ranked by")[1])
    assert "1.00 [1.00, 1.00]" in ranked["MACs"]
    assert "-0.20 [" in ranked["top-1"]  # 4 of 10 pairs in the same order
    ranking = read_ranking(results)
    assert ranking.label == "AP" and ranking.rivals["top-1"][Genotype((1, 1, 1, 1))] == 71.5


def test_what_is_listed_twice_counts_once(results, tmp_path):
    once = read_ranking(results)
    runs = [*json.loads(results.read_text())["runs"]] * 2
    runs[-1] = {**runs[-1], "seconds": 9}  # the same training, read again
    assert read_ranking(write(tmp_path / "twice.json", "runs", runs)).truth == once.truth
    twice = read_ranking(write(tmp_path / "twice.json", "runs", runs))
    assert (twice.noise, twice.spread) == (once.noise, once.spread)


@pytest.mark.parametrize("written_as", [{}, {"OPS": [0] * 4}])
def test_contradicting_entries_are_refused(written_as, results, tmp_path):
    network = {"DEPTHS": DEPTHS[0], **written_as}
    again = {**entry(0, 1, score=50.0, **pretrained(71.0)), "genotype": network}
    runs = [*json.loads(results.read_text())["runs"], again]
    file = write(tmp_path / "contradicting.json", "runs", runs)
    words = r"two results of depths=\[1, 1, 1, 1\] with seed 1: 1\.0 and 50\.0\. Delete"
    for arguments in ((file,), (results, [file])):
        with pytest.raises(ValueError, match=words):
            read_ranking(*arguments)
    scores = [{"genotype": {"DEPTHS": depths}, "fitness": 3.0} for depths in DEPTHS]
    same = [*scores, {"genotype": network, "fitness": 3.0}]
    assert len(read_ranking(results, [write(tmp_path / "s.json", "scores", same)]).rivals["s"]) == 5
    other = write(tmp_path / "o.json", "scores", [*scores, {"genotype": network, "fitness": 4.0}])
    with pytest.raises(ValueError, match=r"two scores of depths=.*: 3\.0 and 4\.0"):
        read_ranking(results, [other])


def test_trainings_without_a_score_are_not_called_unfinished(tmp_path):
    runs = [{**entry(index % 5, index), "AP": None} for index in range(6)]
    words = "ranks no networks, because none of its 6 trainings has a finite bbox/AP"
    with pytest.raises(ValueError, match=words):
        read_ranking(write(tmp_path / "nan.json", "runs", runs))


@pytest.mark.parametrize(("number", "interval"), [(3, "(too few"), (4, "(too few"), (5, "[1.00")])
def test_few_networks_have_no_interval(number, interval, tmp_path, capsys):
    report(write(tmp_path / "few.json", "runs", [entry(index) for index in range(number)]))
    assert f"1.00 {interval}" in lines(capsys.readouterr().out)["MACs"]


def test_other_trainings_are_rivals_too(results, tmp_path, capsys):
    genotypes = [{"DEPTHS": depths, "OPS": [0] * sum(depths)} for depths in DEPTHS]
    runs = [
        {"genotype": g, "seed": 1, "classification/top1": 50.0 - i, "macs": 1, "params": 1}
        for i, g in enumerate(genotypes)
    ]
    other = write(tmp_path / "imagenet.json", "runs", runs)
    report(results, other)
    assert "-1.00 [" in lines(capsys.readouterr().out)["imagenet"]
    report(other)
    assert "standard deviation of their means 1.58 top-1." in capsys.readouterr().out


def test_networks_are_drawn_and_marked(results, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    report(results, "--output", page, "--mark", "found=CR-NAS/stage-R50", "base=CR-NAS/stage-R18")
    text = page.read_text()
    assert text.count("<img") == 1 and "<td>found: depths=[1, 3, 5, 7]</td>" in text
    assert "<td>1.00 [1.00, 1.00]</td>" in text
    with pytest.raises(SystemExit, match="exists already"):
        report(results, "--output", page)
    picture = tmp_path / "page.png"
    report(results, "--output", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_figure_has_a_panel_for_macs_and_each_rival(results, tmp_path):
    entries = [{"genotype": {"DEPTHS": d}, "fitness": float(i)} for i, d in enumerate(DEPTHS)]
    scores = write(tmp_path / "supernet.json", "scores", entries)
    found = {Genotype((1, 3, 5, 7)): "found"}
    figure = draw_ranking(read_ranking(results, [scores]), found)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_xlabel() for axes in panels] == ["MACs (body)", "top-1", "supernet"]
    points = {axes.get_xlabel(): [line.get_xydata() for line in axes.lines] for axes in panels}
    # A bar over the seeds, and the mean.
    assert points["top-1"][0].tolist() == [[71.5, 1.0], [71.5, 2.0]]
    assert points["top-1"][1].tolist() == [[71.5, 1.5]]
    assert all([text.get_text() for text in axes.texts] == ["found"] for axes in panels)
    assert panels[0].get_title().startswith("tau 1.00 [1.00, 1.00], rho 1.00")


def test_networks_without_a_result_are_left_out_and_counted(tmp_path, capsys):
    runs = [entry(i) for i in range(4)] + [entry(4) | {"AP": None}, entry(3, 2) | {"AP": None}]
    results = write(tmp_path / "results.json", "runs", runs)
    report(results)
    printed = capsys.readouterr().out
    assert "4 networks" in printed and "Left out: 2 trainings without a finite result" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results", "--mark", "found=CR-NAS/stage-R50"], "add --output FILE"),
        (["results", "--output", "page.pdf"], r"\.html, \.png or \.svg"),
        (
            ["results", "--output", "page.png", "--mark", "found=CR-NAS/stage-R101"],
            r"found, depths=\[2, 3, 17, 11\], is not among the 5 trained networks",
        ),
        (["results", "missing"], "missing.json cannot be read"),
        (["results", "strangers"], "have no network in common"),
        (["mixed"], r"judged by bbox/AP and classification/top1; expected"),
        (["empty"], "no finished training with a bbox/AP yet"),
        (["strangers"], "holds no list of runs; expected a file that"),
    ],
)
def test_mistakes_are_named(results, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    strangers = [{"genotype": {"DEPTHS": [9, 9, 9, 9]}, "fitness": 1.0}]
    write(tmp_path / "strangers.json", "scores", strangers)
    write(tmp_path / "mixed.json", "runs", [entry(0), entry(1) | {"classification/top1": 3.0}])
    write(tmp_path / "empty.json", "runs", [])
    names = ("results", "missing", "strangers", "mixed", "empty")
    with pytest.raises(SystemExit, match=message):
        report(*(f"{each}.json" if each in names else each for each in arguments))
    assert not (tmp_path / "page.png").exists()
