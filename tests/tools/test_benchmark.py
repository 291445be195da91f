"""tools/benchmark.py: its figures, its last line, its exit status, and that each one runs."""

import importlib
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return importlib.import_module("tools.benchmark")


@pytest.fixture
def benchmarks(tool):
    """The modules of the benchmarks, by name."""
    return lambda name: importlib.import_module(f"tools.benchmarks.{name}")


@pytest.fixture
def fake(tool, monkeypatch):
    """Replaces the benchmarks by one that replays numbers; returns its log of calls."""
    calls = []

    def register(ours, theirs, *, name="fake", goal=1.5, warm_up=0):
        def make(device):
            """Numbers from a list."""
            sides = itertools.cycle(ours), itertools.cycle(theirs)

            def measure(side):
                calls.append("AB"[side])
                return float(next(sides[side]))

            return lambda: measure(0), lambda: measure(1)

        new = tool.Benchmark(make, goal, ("ours_ms", "theirs_ms"), len(ours), warm_up)
        monkeypatch.setitem(tool.BENCHMARKS, name, new)
        return calls

    monkeypatch.setattr(tool, "BENCHMARKS", {})
    return register


def results(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def assert_measured(text, goal, *keys):
    """One result, with the ratio and the figures of both sides."""
    (result,) = results(text)
    assert list(result) == ["name", "ratio", "goal", *keys] and result["goal"] == goal
    assert all(math.isfinite(result[key]) and result[key] > 0 for key in ("ratio", *keys))
    return result


def test_last_line_holds_the_medians(tool, fake, capsys):
    fake(ours=[10, 12, 900], theirs=[10, 10, 600])
    assert tool.main(["fake", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert json.loads(output.splitlines()[-1]) == {
        "name": "fake",
        "ratio": 1.2,  # of 1.0, 1.2 and 1.5, one per pair
        "goal": 1.5,
        "ours_ms": 12.0,
        "theirs_ms": 10.0,
    }
    ratio_row = next(line.split() for line in output.splitlines() if line.startswith("ratio"))
    assert ratio_row[1:4] == ["1.1000", "1.2000", "1.3500"]
    assert "goal <= 1.5: met" in output


def test_of_several_cases_the_one_with_the_highest_ratio_counts(tool, monkeypatch, capsys):
    def make(device):
        """Three cases."""
        figures = {"small": (3, 2), "large": (32, 20), "middle": (13, 10)}
        return {
            case: (lambda ours=ours: ours, lambda theirs=theirs: theirs)
            for case, (ours, theirs) in figures.items()
        }

    monkeypatch.setattr(
        tool, "BENCHMARKS", {"cases": tool.Benchmark(make, 1.55, ("a_s", "b_s"), 1)}
    )
    assert tool.main(["cases", "--device", "cpu"]) == 1
    output = capsys.readouterr().out
    (result,) = results(output)
    assert result == {"name": "cases", "ratio": 1.6, "goal": 1.55, "a_s": 32.0, "b_s": 20.0}
    rows = [line.split() for line in output.splitlines()]
    titles = [row[0] for row in rows if row[-2:] == ["upper", "quartile"]]
    assert titles == ["small", "large", "middle"]
    assert [row[-1] for row in rows if row[0] == "ratio"] == ["met", "MISSED", "met"]


def test_without_a_goal_the_ratio_is_only_told(tool, fake, capsys):
    fake(ours=[300], theirs=[100], goal=None)
    assert tool.main(["fake", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "no goal" in output and "met" not in output.lower()
    assert results(output)[0]["goal"] is None
    assert tool.main(["--list"]) == 0
    assert "no goal" in capsys.readouterr().out


def test_sides_alternate_after_the_warm_up(tool, fake):
    calls = fake(ours=[1], theirs=[1], warm_up=1)
    tool.main(["fake", "--repeats", "3", "--device", "cpu"])
    assert "".join(calls) == "BA" + "AB" + "BA" + "AB"


def test_warm_up_does_not_count(tool, fake, capsys):
    fake(ours=[1000, 1, 1], theirs=[1, 1, 1], warm_up=1)
    tool.main(["fake", "--repeats", "2", "--device", "cpu"])
    assert results(capsys.readouterr().out)[0]["ratio"] == 1.0


def test_exit_status_says_whether_every_goal_is_met(tool, fake, capsys):
    fake(ours=[2], theirs=[2], name="level", goal=1.0)
    fake(ours=[1.001], theirs=[1], name="slow", goal=1.0)
    fake(ours=[math.nan], theirs=[1], name="broken", goal=1.0)
    assert tool.main(["level", "--device", "cpu"]) == 0
    assert tool.main(["slow", "--device", "cpu"]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert tool.main(["broken", "--device", "cpu"]) == 1
    capsys.readouterr()
    assert tool.main(["all", "--device", "cpu"]) == 1
    names = [result["name"] for result in results(capsys.readouterr().out)]
    assert names == ["level", "slow", "broken"]


KNOWN = ("import-time", "supernet-step")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ("'nonsense'", "known: ", *KNOWN)),
        (["supernet-step", "nonsense"], ("'nonsense'", "known: ", *KNOWN)),
        ([], ("name a benchmark: ", *KNOWN)),
        (["supernet-step", "--repeats", "0"], ("--repeats is 0; expected at least 1",)),
        *(
            (["gpu", f"--size={size}"], (f"--size is {size}; expected HEIGHTxWIDTH",))
            for size in ("800", "800x", "0x10", "ax3", "-1x5")
        ),
    ],
)
def test_wrong_arguments_are_refused(tool, capsys, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        tool.main([*arguments, "--device", "cpu"])
    assert stopped.value.code == 2 or "--size" in str(stopped.value.code)
    message = f"{stopped.value.code} {capsys.readouterr().err}"
    assert all(word in message for word in words), message


def test_list(tool, capsys):
    assert tool.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(tool.BENCHMARKS)
    assert any("supernet-step" in line and "1.05" in line for line in lines)


def test_supernet_step_measures_both_sides(tool, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tool.main(["supernet-step", "--repeats", "1", "--device", "cpu"])
    assert_measured(capsys.readouterr().out, 1.05, "supernet_step_ms", "detectron2_step_ms")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("registered")
def test_image_cache_measures_equal_steps(tool, benchmarks, monkeypatch, capsys):
    for name, number in {"IMAGES": 4, "BATCH": 2}.items():
        monkeypatch.setattr(benchmarks("image_cache"), name, number)
    tool.main(["image-cache", "--repeats", "3", "--device", "cpu"])  # raises if the losses differ
    result = assert_measured(capsys.readouterr().out, 0.7, "kept_cpu_ms", "decoded_cpu_ms")
    assert result["kept_cpu_ms"] < result["decoded_cpu_ms"]


def test_supernet_step_refuses_sides_that_differ(benchmarks, monkeypatch):
    # Without the copy of the weights the two sides begin with other numbers.
    module = benchmarks("supernet_step")
    monkeypatch.setattr(module, "tensors", lambda modules: [])
    with pytest.raises(RuntimeError, match="different steps"):
        module.supernet_step("cpu")


def test_gradients_of_a_path_are_fewer_than_those_of_a_supernet(benchmarks):
    letters = "crnas_d2://configs/letters/supernet-stage.yaml"
    try:
        ours, plain = benchmarks("gradient_exchange").gradient_exchange("cpu", letters)
        paths, whole = [ours() for _ in range(2)], [plain() for _ in range(2)]
    finally:
        dist.destroy_process_group()
    assert whole[0] == whole[1] > max(paths) > 0 and paths[0] != paths[1]


@pytest.fixture
def small(tool, benchmarks, monkeypatch):
    """The convolutions of the benchmarks, at a size that costs nothing."""
    convs = benchmarks("_convs")
    monkeypatch.setattr(convs, "CHANNELS", 32)
    monkeypatch.setattr(convs, "MAP", (6, 7))
    return tool


def test_mixed_conv_memory_is_that_of_the_maps(small, capsys):
    assert small.main(["mixed-conv-memory", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    result = assert_measured(output, 0.65, "mixed_conv_mib", "written_out_mib")
    # The input, over the input and three outputs; and some shares.
    maps = 2 * 32 * 6 * 7 * 4 / 2**20
    assert maps <= result["mixed_conv_mib"] <= 1.1 * maps
    assert 4 * maps <= result["written_out_mib"] <= 4.1 * maps
    titles = [line[:11] for line in output.splitlines() if line.endswith("upper quartile")]
    assert titles == ["3 dilations", "5 dilations", "9 dilations"]


@pytest.mark.parametrize(
    "name, goal, keys",
    [
        ("mixed-conv-time", 1.15, ["mixed_conv_ms", "plain_convs_ms"]),
        ("decoded-conv", None, ["decoded_conv_ms", "plain_conv_ms"]),
    ],
)
def test_convolutions_are_timed(small, capsys, name, goal, keys):
    small.main([name, "--repeats", "1", "--device", "cpu"])
    assert_measured(capsys.readouterr().out, goal, *keys)


def test_import_time_times_a_fresh_interpreter(benchmarks, monkeypatch, tmp_path):
    module = tmp_path / "crnas_d2.py"
    module.write_text("import time; time.sleep(0.05)\n")
    monkeypatch.setattr(benchmarks("import_time"), "ROOT", tmp_path)
    ours, _ = benchmarks("import_time").import_time("cpu")
    assert 0.05 <= ours() < 10
    module.write_text("raise ImportError('no such thing')\n")
    with pytest.raises(subprocess.CalledProcessError):
        ours()


# Networks of the same structure, with few channels and boxes.
NARROW = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 16,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
    "SEARCH.IMS_PER_BATCH": 2,
}


def test_gpu_measures_training_and_candidates(tool, benchmarks, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    overrides = [item for pair in NARROW.items() for item in pair]
    monkeypatch.setattr(benchmarks("gpu"), "OVERRIDES", overrides)
    assert tool.main(["gpu", "--repeats", "1", "--device", "cpu", "--size", "32x48"]) == 0
    output = capsys.readouterr().out
    (result,) = results(output)
    assert result["name"] == "gpu" and result["size"] == "32x48" and result["goal"] is None
    steps = [f"{name}_step_ms" for name in ("detectron2", "supernet", "nats")]
    rates = [
        f"{precision}_{layout}_candidates_per_hour"
        for precision in ("float32", "bfloat16")
        for layout in ("contiguous", "channels_last")
    ]
    assert set(result) == {"name", "goal", "ratio", "size", *steps, *rates}
    assert all(math.isfinite(result[key]) and result[key] > 0 for key in ("ratio", *steps, *rates))
    assert result["ratio"] == result["supernet_step_ms"] / result["detectron2_step_ms"]
    rows = [line for line in output.splitlines() if line.startswith(("step of", "candidate,"))]
    assert len(rows) == 7
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_the_memory_is_a_dash(benchmarks):
    def make():
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert benchmarks("gpu")._measured(make, "cpu", 1) == (None, None)


def test_all_leaves_out_what_is_for_a_gpu(tool, fake, monkeypatch, capsys):
    fake(ours=[1], theirs=[1])
    monkeypatch.setitem(tool.BENCHMARKS, "gpu", tool.Table(lambda *_: 1 / 0, repeats=1))
    assert tool.main(["all", "--device", "cpu"]) == 0
    assert [result["name"] for result in results(capsys.readouterr().out)] == ["fake"]


@pytest.mark.slow  # makes the letters and trains a detector
def test_a_candidate_is_scored_as_the_plain_way_does(tool, benchmarks, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks("candidates"), "ITERATIONS", 20)
    tool.main(["candidates", "--repeats", "1", "--device", "cpu"])  # raises if the APs differ
    (result,) = results(capsys.readouterr().out)
    assert list(result) == ["name", "ratio", "goal", "candidate_s", "plain_candidate_s"]
    assert 0 < result["candidate_s"] < result["plain_candidate_s"]
