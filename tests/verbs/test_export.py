"""Exported folders: whom they need, and that they compute what the trained network does."""

import json
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import channel_toy
import pytest
import torch
import toy
import trained_toy
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.export import scripting_with_instances
from detectron2.modeling import build_model
from detectron2.structures import Boxes

from crnas_d2.common.errors import JobError
from crnas_d2.engine import Trainer
from crnas_d2.runs.loaded_network import load_network, network_config
from crnas_d2.runs.run import load_run
from crnas_d2.verbs.export import formats
from crnas_d2.verbs.export.card import _origin
from crnas_d2.verbs.export.folder import run_export
from crnas_d2.verbs.export.formats import FORMATS

ALONE, WITH_FILE, OURS = "detectron2", "detectron2 and backbone.py", "crnas_d2"
NEEDS_ONNX = {"onnx", "onnxruntime", "onnxscript"}
RETINANET = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_supernet_retinanet_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.RETINANET.NUM_CLASSES": 2,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
}
SHALLOW = {"MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1]}
DECODED = {**channel_toy.BASE, "MODEL.GENOTYPE.CHANNELS": channel_toy.CHANNELS}
NETWORKS = {
    "small": (WITH_FILE, toy.RESNETS["basic"], {"MODEL.GENOTYPE.DEPTHS": [1, 1, 1, 1]}),
    "published depths": (ALONE, toy.RESNETS["bottleneck"]),
    "resnext": (ALONE, toy.RESNETS["resnext"]),
    "retinanet": (ALONE, toy.RESNETS["bottleneck"], RETINANET),
    "searched image size": (
        *(WITH_FILE, toy.RESNETS["bottleneck"], SHALLOW),
        {"MODEL.GENOTYPE.IMAGE_SIZE": [toy.SIZE]},
    ),
    "narrow basic blocks": (WITH_FILE, toy.RESNETS["basic"]),
    "other depths": (WITH_FILE, toy.RESNETS["resnext"], SHALLOW),
    "dilated": (WITH_FILE, SHALLOW, {"MODEL.GENOTYPE.OPS": [0, 1, 0, 2, 1]}),
    "dilated retinanet": (WITH_FILE, SHALLOW, {"MODEL.GENOTYPE.OPS": [0, 0, 0, 2, 1]}, RETINANET),
    "shorter pyramid": (
        WITH_FILE,
        toy.RESNETS["bottleneck"],
        {
            "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4"],
            "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "MODEL.ANCHOR_GENERATOR.SIZES": [[12], [24], [48], [96]],
            "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4"],
        },
    ),
    "nats": (OURS, toy.RESNETS["bottleneck"], DECODED),
    "nats of resnext": (OURS, toy.RESNETS["resnext"], DECODED),
    "nats without dilations": (
        *(WITH_FILE, toy.RESNETS["bottleneck"], DECODED),
        {"MODEL.GENOTYPE.CHANNELS": [[0] * 4] * 4},
    ),
    "mobilenetv2": (
        *(OURS, toy.SMALL_BODIES["mobilenetv2"]),
        {"MODEL.SUPERNET.FAMILY": "mobilenetv2"},
    ),
    "efficientnet_lite": (OURS, {"MODEL.SUPERNET.FAMILY": "efficientnet_lite"}),
    "shufflenetv2": (
        *(OURS, toy.SMALL_BODIES["shufflenetv2"]),
        {"MODEL.SUPERNET.FAMILY": "shufflenetv2", "MODEL.GENOTYPE.OPS": [0, 1, 2, 3, 0, 1]},
    ),
    "nas-fpn": (
        OURS,
        RETINANET,
        {"MODEL.BACKBONE.NAME": "build_supernet_nasfpn_backbone", "MODEL.NAS_FPN.NUM_STACKS": 1},
    ),
}


def random_network(name, folder):
    """The config of a network with random weights; its scores differ from anchor to anchor."""
    cfg = toy.network_config(
        {"SEARCH.COST_INPUT_SIZE": [96, 128], "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0},
        *NETWORKS[name][1:],
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Trainer.build_model(cfg)
    toy.randomize_norms(model.backbone.bottom_up.stem)
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return network_config(None, str(folder / "config.yaml"))


def outputs(model):
    with torch.no_grad():
        maps = model.eval().backbone(toy.images(128))
        [detections] = model(
            [{"image": 50 * toy.images(128)[0] + 128, "height": 128, "width": 128}]
        )
    found = detections["instances"]
    return [*maps.values(), found.pred_boxes.tensor, found.scores, found.pred_classes]


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folder_is_as_plain_as_it_can_be_and_computes_the_same(name, tmp_path):
    cfg, folder = random_network(name, tmp_path), tmp_path / "exported"
    expected = outputs(load_network(cfg).model)
    assert len(expected[-1]) > 0
    export = run_export(cfg, str(folder))
    provenance = json.loads((folder / "provenance.json").read_text())
    assert export.needs == provenance["needs"] == NETWORKS[name][0]
    assert (folder / "backbone.py").exists() == (export.needs == WITH_FILE)
    assert bool(export.why) == (export.needs != ALONE)
    # Read by this project ...
    again = load_network(network_config(str(folder), None))
    assert_equal(outputs(again.model), expected)
    assert again.spec.genotype.depths == load_network(cfg).spec.genotype.depths
    content = (folder / "config.yaml").read_text()
    assert "SEARCH" not in content and "STAGE_OPTIONS" not in content
    if export.needs == OURS:
        return
    # ... and by Detectron2.
    plain = get_cfg()
    plain.merge_from_file(str(folder / "config.yaml"))
    if export.needs == WITH_FILE:
        runpy.run_path(str(folder / "backbone.py"))
    model = build_model(plain)
    DetectionCheckpointer(model).load(str(folder / "model.pth"))
    assert_equal(outputs(model), expected)


@pytest.fixture(scope="module")
def run(toy_datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    return trained_toy.train(folder, toy_datasets, {"SOLVER.CHECKPOINT_PERIOD": 1})


@pytest.mark.slow
def test_a_detectron2_without_this_package_loads_the_folder(run, tmp_path):
    folder = tmp_path / "exported"
    run_export(network_config(str(run), None), str(folder), folder=str(run))
    program = (
        "import sys, numpy, backbone\n"
        "from detectron2.config import get_cfg\n"
        "from detectron2.engine import DefaultPredictor\n"
        "cfg = get_cfg()\n"
        "cfg.merge_from_file('config.yaml')\n"
        "found = DefaultPredictor(cfg)(numpy.zeros((64, 64, 3), 'uint8'))\n"
        "assert 'instances' in found and 'crnas_d2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=folder, check=True)


def test_the_provenance_says_where_a_network_comes_from(run, tmp_path):
    cfg, folder = network_config(str(run), None), tmp_path / "exported"
    run_export(cfg, str(folder), folder=str(run), command="crnas-d2 export")
    record = json.loads((folder / "provenance.json").read_text())
    assert record["genotype"] == {"DEPTHS": [1, 2, 1, 1]}
    assert record["datasets"] == {"train": ["toy_archtrain"], "test": ["toy_test"]}
    assert "bbox/AP" in record["metrics"] and record["command"] == "crnas-d2 export"
    assert json.loads((folder / "classes.json").read_text())["names"] == ["bright", "dark"]
    assert set(torch.load(folder / "model.pth", weights_only=True)) == {
        *("model", "classes", "network")
    }
    # A copy of the folder says the same.
    run_export(network_config(str(folder), None), str(tmp_path / "copy"), folder=str(folder))
    copied = json.loads((tmp_path / "copy" / "provenance.json").read_text())
    for key in ("needs", "genotype", "datasets", "metrics"):
        assert copied[key] == record[key], key


def test_the_card_says_what_people_ask(run, tmp_path):
    cfg, folder = network_config(str(run), None), tmp_path / "exported"
    run_export(cfg, str(folder), folder=str(run))
    card, record = (
        (folder / "README.md").read_text(),
        json.loads((folder / "provenance.json").read_text()),
    )
    assert card.startswith("# GeneralizedRCNN\n") and "2 classes: bright, dark" in card
    assert "Body: resnet, depths=[1, 2, 1, 1]" in card and "Data, test: toy_test" in card
    assert f"- bbox/AP {record['metrics']['bbox/AP']:.2f}" in card and "AP-bright" not in card
    assert "- in all: " in card and f"({toy.SIZE}x{toy.SIZE} pixels)" in card
    assert f"{run}/model_final.pth was trained from random weights" in card
    # That of a copy knows it, too.
    run_export(network_config(str(folder), None), str(tmp_path / "copy"), folder=str(folder))
    copied = (tmp_path / "copy" / "README.md").read_text()
    assert f"Weights: {folder}/model.pth from {run}/model_final.pth" in copied


def test_an_exported_folder_is_compared_as_its_run(run, tmp_path):
    weights = shutil.copytree(run, tmp_path / "run") / "model_final.pth"
    for number, source in enumerate((tmp_path / "run", tmp_path / "0")):
        run_export(network_config(str(source), None), str(tmp_path / str(number)))
        found, expected = load_run("a", tmp_path / str(number)), load_run("a", weights.parent)
        assert found.folder == weights.parent and found.metrics == expected.metrics
    content = torch.load(weights, weights_only=True)
    torch.save({**content, "other": 1}, weights)
    with pytest.raises(ValueError, match=r"holds other weights by now\. Name a run"):
        load_run("a", tmp_path / "0")
    weights.unlink()
    with pytest.raises(ValueError, match=r"model_final\.pth, which is not here"):
        load_run("a", tmp_path / "0")


def test_the_card_follows_weights_to_their_search_and_licence(tmp_path):
    def leave(name, weights, search=None):
        (tmp_path / name).mkdir()
        config = {"MODEL": {"WEIGHTS": str(weights)}, "SEARCH": search or {}}
        (tmp_path / name / "config.yaml").write_text(json.dumps(config))
        return tmp_path / name / "model_final.pth"

    detector = leave("detector", "crnas_d2://weights/efficientnet-lite0")
    found = leave(
        "search",
        detector,
        {"ALGORITHM": "exhaustive", "BUDGET": {"MACS": ["8e6", "9e6"], "BLOCKS": []}},
    )
    (tmp_path / "search" / "candidates.csv").touch()
    final = leave("found", found)
    lines = list(_origin(SimpleNamespace(cfg=SimpleNamespace(MODEL=weights_of(final)))))
    assert lines[0].endswith("model_final.pth from crnas_d2://weights/efficientnet-lite0")
    assert lines[1].endswith("efficientnet-lite0: Apache-2.0")
    assert lines[2] == f"Search in {tmp_path}/search: ALGORITHM exhaustive, BUDGET.MACS 8e6 9e6"
    other = leave("other", "https://user:secret@example.org/a.pth")
    lines = list(_origin(SimpleNamespace(cfg=SimpleNamespace(MODEL=weights_of(other)))))
    assert lines[1].endswith("unknown, see where it was published")
    assert "secret" not in "".join(lines)


def weights_of(file):
    return SimpleNamespace(WEIGHTS=str(file))


def test_weights_that_were_not_evaluated_have_no_metrics(run, tmp_path):
    cfg = network_config(str(run), None, ["MODEL.WEIGHTS", str(run / "model_0000000.pth")])
    run_export(cfg, str(tmp_path / "exported"), folder=str(run))
    record = json.loads((tmp_path / "exported" / "provenance.json").read_text())
    assert record["metrics"] is None and "model_0000000.pth is recorded" in record["why_no_metrics"]


def test_earlier_exports_are_replaced_only_when_asked(run, tmp_path):
    cfg = network_config(str(run), None)
    run_export(cfg, str(tmp_path / "exported"))
    with pytest.raises(ValueError, match="--overwrite"):
        run_export(cfg, str(tmp_path / "exported"))
    run_export(cfg, str(tmp_path / "exported"), overwrite=True)
    with pytest.raises(ValueError, match="holds files already"):
        run_export(cfg, str(run))
    with pytest.raises(ValueError, match=r"no provenance\.json"):
        run_export(cfg, str(run), overwrite=True)


@pytest.mark.parametrize("name", ["small", "nats"])
def test_a_trace_computes_the_same_at_any_size(name, tmp_path):
    cfg = random_network(name, tmp_path)
    export = run_export(cfg, str(tmp_path / "exported"), formats=["torchscript"])
    assert export.differences["torchscript"] < 1e-4
    body = formats.BodyAndNeck(load_network(cfg).model.backbone, 3, (64, 64))
    images = toy.images(160)
    found = torch.jit.load(tmp_path / "exported" / "backbone.ts")(images)
    torch.testing.assert_close(found, body(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "exported", "example", "shape"),
    [("small", ["onnx"], (64, 64), (1, 3, 64, 64))]
    + [
        pytest.param(
            *(name, ["onnx", "torch-export"], (160, 192), (3, 3, 256, 192)), marks=pytest.mark.slow
        )
        for name in (
            *("other depths", "dilated", "nats", "mobilenetv2", "efficientnet_lite"),
            *("shufflenetv2", "retinanet"),
        )
    ],
)
def test_graphs_compute_the_same_at_any_size(name, exported, example, shape, tmp_path):
    for module in NEEDS_ONNX:
        pytest.importorskip(module)
    cfg, folder = random_network(name, tmp_path), tmp_path / "exported"
    run_export(cfg, str(folder), formats=exported, input_size=example)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    expected = formats.BodyAndNeck(load_network(cfg).model.backbone, 3, example)(images)
    for format in exported:
        found = FORMATS[format].load(folder / FORMATS[format].file)(images)
        for ours, theirs in zip(found, expected, strict=True):
            scale = 1 if name == "small" else max(1, theirs.abs().max())
            assert (ours - theirs).abs().max() <= 1e-4 * scale


def test_a_size_below_the_coarsest_map_is_fixed(tmp_path):
    cfg = random_network("small", tmp_path)
    folder = tmp_path / "exported"
    run_export(cfg, str(folder), formats=["torch-export"], input_size=(64, 50))
    record = json.loads((folder / "provenance.json").read_text())
    assert record["input"]["sizes"] == [64, 64]


def test_a_format_that_differs_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    def load(path):
        graph = torch.jit.load(path)
        return lambda images: [value + 0.01 for value in graph(images)]

    wrong = formats.Format("backbone.ts", FORMATS["torchscript"].write, load)
    monkeypatch.setitem(FORMATS, "torchscript", wrong)
    cfg = random_network("small", tmp_path)
    with pytest.raises(JobError, match=r"backbone\.ts differs from the network by 0\.01 in p2"):
        run_export(cfg, str(tmp_path / "exported"), formats=["torchscript"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "weights.pth"]


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_module", lambda name: None if name == "onnx" else name)
    cfg = random_network("small", tmp_path)
    with pytest.raises(ValueError, match=r"needs onnx, .*pip install 'crnas-d2\[onnx\]'"):
        run_export(cfg, str(tmp_path / "exported"), formats=["onnx"])


def test_the_latency_of_a_baseline_is_measured_in_the_same_formats(run, tmp_path, monkeypatch):
    monkeypatch.setattr("crnas_d2.verbs.export.latency._MOST_SECONDS", 0.1)
    baseline = shutil.copytree(run, tmp_path / "baseline")
    folder = tmp_path / "exported"
    cfg = network_config(str(run), None, ["SEARCH.COST_INPUT_SIZE", "[96, 96]"])
    export = run_export(
        cfg, str(folder), folder=str(run), formats=["torchscript"], baseline=str(baseline)
    )
    assert set(export.latencies) == {"PyTorch", "torchscript"}
    record = json.loads((folder / "latency.json").read_text())
    assert record["milliseconds"] == export.latencies and record["images"] == [1, 3, 96, 96]
    assert all(value > 0 for both in export.latencies.values() for value in both.values())


@pytest.mark.parametrize("name", ["nats", "nats of resnext", "mobilenetv2", "shufflenetv2"])
def test_detectron2_scripts_the_whole_detector(name, tmp_path):
    model = load_network(random_network(name, tmp_path)).model
    fields = {
        "proposal_boxes": Boxes,
        "objectness_logits": torch.Tensor,
        "pred_boxes": Boxes,
        "scores": torch.Tensor,
        "pred_classes": torch.Tensor,
    }
    scripted = scripting_with_instances(model, fields)
    with torch.no_grad():
        found, expected = (m.backbone(toy.images(128)) for m in (scripted, model))
    assert_equal(list(found.values()), list(expected.values()))
