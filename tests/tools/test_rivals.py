"""tools/rivals: the rules of thumb, pruned networks, and rows from the command line."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
import toy
import yaml

from crnas_d2.config import NetworkSpec, load_config
from crnas_d2.cost import MACs, body_cost, count_macs
from crnas_d2.engine import Trainer
from crnas_d2.modeling import build_body
from crnas_d2.runs.run import load_run

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"MODEL.SUPERNET.STAGE_OPTIONS": [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3]]}
LITE = {"MODEL.SUPERNET.FAMILY": "efficientnet_lite"}
WIDE = {"MODEL.RESNETS.STEM_OUT_CHANNELS": 16, "MODEL.RESNETS.RES2_OUT_CHANNELS": 16}


@pytest.fixture
def tool(monkeypatch):
    """The modules of the tool, by name."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return lambda name: importlib.import_module(f"tools.rivals.{name}")


@pytest.fixture(scope="module")
def macs():
    """Those of all allocations of the letters' detector, [3, 4, 6, 3]."""
    spec = NetworkSpec.from_config(load_config(str(toy.SUPERNET), toy.as_list(OPTIONS)))
    return MACs().table(spec, (96, 96))


def test_rules_of_thumb_use_what_they_may(tool, macs):
    rules = tool("rules")
    whole = macs(rules.full(macs.space))
    most = 0.65 * whole
    deep = rules.deep_end(macs, most)
    assert deep.depths == (3, 4, 1, 1)
    assert rules.deep_end(macs, whole).depths == (3, 4, 6, 3)
    assert rules.equal_share(macs, most).depths == (2, 2, 3, 2)
    assert rules.one_each(macs, most).depths == (1, 1, 1, 1)
    drawn = {rules.drawn(macs, most, seed).depths for seed in range(20)}
    assert len(drawn) > 5 and rules.drawn(macs, most, 3) == rules.drawn(macs, most, 3)
    costs = [macs(type(deep)(depths)) / most for depths in drawn]
    assert min(costs) >= rules.NARROW and max(costs) <= 1
    for rule in (rules.deep_end, rules.equal_share, rules.one_each):
        with pytest.raises(ValueError, match=r"\[1, 1, 1, 1\].*Choose a larger --share"):
            rule(macs, 0.1 * whole)


def test_smaller_images_keep_their_shape_and_use_what_they_may(tool):
    rules = tool("rules")
    assert rules.smaller_size(lambda size: size[0] * size[1], (200, 300), 0.25 * 60000) == (
        100,
        150,
    )
    assert rules.image_sizes(212, 168) == [212, 190, 168] and rules.image_sizes(9, 8) == [9, 8]
    with pytest.raises(ValueError, match="No image is so small"):
        rules.smaller_size(lambda size: 10.0, (200, 300), 5)


def pruned_settings(tool, cfg, widths):
    return {
        "PLUGINS": [tool("pruned_family").__name__],
        "MODEL.PRUNED.FAMILY": cfg.MODEL.SUPERNET.FAMILY,
        "MODEL.SUPERNET.FAMILY": "pruned",
        "MODEL.PRUNED.WIDTHS": [list(each) for each in widths],
    }


@pytest.mark.parametrize("family", [LITE, WIDE], ids=["lite", "resnet"])
@pytest.mark.parametrize("row", ["pruned-layer", "pruned-global", "pruned-bn"])
def test_a_pruned_detector_is_rebuilt_from_its_widths(tool, row, family):
    pytest.importorskip("torch_pruning")
    cfg, size = toy.network_config(family), (toy.SIZE, toy.SIZE)
    model = Trainer.build_model(cfg).eval()
    toy.randomize_norms(model)
    image = toy.images()[:1]
    whole = count_macs(model.backbone.bottom_up, image)
    widths = tool("pruning").prune_body(model, row, size, 0.65 * whole)
    rebuilt = toy.network_config(family, pruned_settings(tool, cfg, widths))
    cost = body_cost(NetworkSpec.from_config(rebuilt), size)
    assert 0.4 * whole < cost.macs <= 0.65 * whole
    other = Trainer.build_model(rebuilt).eval()
    other.load_state_dict(model.state_dict())  # strictly
    with torch.no_grad():
        for theirs, ours in zip(
            model.backbone(image).values(), other.backbone(image).values(), strict=True
        ):
            torch.testing.assert_close(ours, theirs)
    assert all(width % tool("pruning").ROUND_TO == 0 or width < 8 for _, width, _ in widths)


def test_a_pruned_network_has_the_widths_of_its_config(tool):
    cfg, size = toy.network_config(LITE), (toy.SIZE, toy.SIZE)
    body = build_body(NetworkSpec.from_config(cfg))
    convs = [(n, m) for n, m in body.named_modules() if isinstance(m, torch.nn.Conv2d)]
    widths = [[name, *conv.weight.shape[:2]] for name, conv in convs]
    whole = body_cost(NetworkSpec.from_config(cfg), size)
    same = toy.network_config(LITE, pruned_settings(tool, cfg, widths))
    assert body_cost(NetworkSpec.from_config(same), size) == whole
    (stem, channels, _), (_, depthwise, _), (_, _, pointwise) = widths[:3]
    assert stem == "stem.conv1" and channels == depthwise == pointwise == 32
    widths[0][1] = widths[1][1] = widths[2][2] = 24
    spec = NetworkSpec.from_config(toy.network_config(LITE, pruned_settings(tool, cfg, widths)))
    # Of the stem, its norm, the depthwise convolution, its norm, and the inputs of the third.
    assert whole.parameters - body_cost(spec, size).parameters == 8 * (27 + 2 + 9 + 2 + 16)

    lost = toy.network_config(LITE, pruned_settings(tool, cfg, widths[:-1]))
    with pytest.raises(ValueError, match=r"expected one of them for c320\.0\.conv3"):
        build_body(NetworkSpec.from_config(lost))
    depths = {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 2, 3, 3, 4, 1, 1]}
    with pytest.raises(ValueError, match=r"DEPTHS is .*of which MODEL\.PRUNED\.WIDTHS are"):
        NetworkSpec.from_config(
            toy.network_config(LITE, pruned_settings(tool, cfg, widths), depths)
        )


@pytest.fixture
def chain(tmp_path, toy_datasets):
    """A fold as `prepare` writes it: a detector, its search, and its fine-tuning."""
    settings = {
        **toy.TINY,
        **toy_datasets,
        "DATASETS.TEST": ("toy_test",),
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "SEARCH.COST_INPUT_SIZE": [toy.SIZE, toy.SIZE],
        "SOLVER.MAX_ITER": 4,
        "SEED": 1,
    }
    fold = tmp_path / "fold1"
    fold.mkdir()
    (fold / "baseline.yaml").write_text(toy.network_config(settings).dump())
    further = {"_BASE_": "baseline.yaml", "SOLVER": {"MAX_ITER": 3}, "MODEL": {"INHERIT": True}}
    (fold / "finetuned.yaml").write_text(yaml.safe_dump(further))
    options = OPTIONS["MODEL.SUPERNET.STAGE_OPTIONS"]
    space = {"SPACE": "stage", "SHARING": "prefix", "STAGE_OPTIONS": options}
    search = {"_BASE_": "baseline.yaml", "MODEL": {"INHERIT": True, "SUPERNET": space}}
    search["SEARCH"] = {"IMS_PER_BATCH": 4, "BN_CALIBRATION": {"NUM_IMAGES": 8}}
    few = {"POPULATION": 3, "GENERATIONS": 2, "PARENTS": 1}
    search["SEARCH"] |= {"ALGORITHM": "random", "EVOLUTION": few}
    (fold / "search.yaml").write_text(yaml.safe_dump(search))
    return fold


def test_work_is_known_only_if_all_of_it_was_seen(tool, tmp_path, monkeypatch):
    steps = tool("steps")
    results = iter([(1, 5.0), (0, 7.0), (0, 9.0)])
    monkeypatch.setattr(steps, "run_and_time", lambda command: next(results))
    mine, begun = tmp_path / "mine", tmp_path / "begun"
    with pytest.raises(ValueError, match="mine is not finished: its command ended with 1"):
        steps.Step("train", tmp_path / "a.yaml", mine).run()
    for _ in range(2):  # the second time, nothing is left
        steps.Step("train", tmp_path / "a.yaml", mine).run()
    assert steps.read_work(mine) == {"done": True, "cpu_seconds": 12.0}
    begun.mkdir()
    (begun / "last_checkpoint").touch()  # by another command
    steps.Step("train", tmp_path / "a.yaml", begun).run()
    assert steps.read_work(begun) == {"done": True, "cpu_seconds": None}


@pytest.mark.slow
def test_rows_are_run_once_and_read_as_trainings(tool, chain, monkeypatch, capsys):
    rivals = tool("rivals")

    def run(*rows, seed="1"):
        words = [str(chain), "--share", "0.8", "--seed", seed, "--rows", *rows]
        monkeypatch.setattr(sys, "argv", ["rivals.py", *words])
        rivals.main()
        return capsys.readouterr().out

    with pytest.raises(ValueError, match=r"model_final\.pth does not exist: run the row baseline"):
        run("deep-end")
    rows = ["baseline", "finetuned", "found", "found-sizes", "smaller-images", "deep-end"]
    rows.append("scratch")
    assert run(*rows).count("crnas-d2 ") == len(rows) + 2  # the searches
    assert "crnas-d2 " not in run(*rows)
    folder = chain / "output" / "share0.8"
    whole = load_run("finetuned", chain / "output" / "finetuned")
    for row in rows[2:]:
        rival = load_run(row, folder / row)
        assert 0.7 < rival.cost.macs / whole.cost.macs <= 0.8 and rival.detections
        assert json.loads((folder / row / "work.json").read_text())["cpu_seconds"] > 0
    small = load_run("smaller-images", folder / "smaller-images")
    assert small.input_size[0] < toy.SIZE and small.cost.parameters == whole.cost.parameters
    assert small.cfg.MODEL.ANCHOR_GENERATOR.SIZES[0][0] < 12
    with pytest.raises(ValueError, match=r"baseline\.yaml starts from random weights"):
        run("imagenet")
    found = load_run("found-sizes", folder / "found-sizes")
    assert found.spec.genotype.image_size == (found.input_size[0],)
    search = load_config(str(folder / "search-sizes" / "config.yaml"), [])
    assert [64, 57, small.input_size[0]] == search.SEARCH.IMAGE_SIZES
    run("baseline", "one-each", seed="2")
    other = load_run("one-each", chain / "output" / "seed2" / "share0.8" / "one-each")
    assert other.cfg.SEED == 2 and "seed2/baseline" in other.cfg.MODEL.WEIGHTS

    run("baseline", "finetuned", seed="2")
    arguments = [str(chain), "--shares", "0.8"]
    monkeypatch.setattr(sys, "argv", ["latency.py", *arguments, "--repeats", "2"])
    tool("latency").main()
    capsys.readouterr()
    results = chain.parent / "results.json"
    monkeypatch.setattr(sys, "argv", ["table.py", *arguments, "--output", str(results)])
    tool("table").main()
    out = capsys.readouterr()
    assert "Left out" not in out.err
    found = {each["row"]: each for each in json.loads(results.read_text())["rows"]}
    assert list(found) == [row for row in tool("rows").ROWS if row in found]
    assert set(found) == {*rows, "one-each"}
    assert found["finetuned"]["seeds"] == [1, 2] and found["one-each"]["seeds"] == [2]
    difference = found["one-each"]["AP"][0] - found["finetuned"]["AP"][1]
    assert found["one-each"]["difference"] == pytest.approx(difference)
    low, high = found["deep-end"]["interval"]
    assert low <= found["deep-end"]["difference"] <= high
    assert all(each["body ms"] > 0 and each["cpu seconds"] > 0 for each in found.values())
    assert found["found"]["cpu seconds"] > found["deep-end"]["cpu seconds"]
    assert f"| deep-end, 0.8 | {found['deep-end']['AP'][0]:.2f} | 1 |" in out.out
    (folder / "deep-end" / "model_final.pth").unlink()
    tool("table").main()
    assert "Left out: deep-end, share 0.8, seed 1" in capsys.readouterr().err
