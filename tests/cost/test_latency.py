import json
import time
from itertools import count, pairwise
from pathlib import Path
from random import Random

import pytest
import torch
import toy
from detectron2.layers import CNNBlockBase

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import build_costs, latency_meter
from crnas_d2.cost import latency as latency_module
from crnas_d2.cost.latency import Latency, LatencyCheck, LatencyTable
from crnas_d2.cost.latency_meter import Clock, CPUClock, LatencyMeter, build_meter
from crnas_d2.layers import ChoiceBlock, active_modules
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import OperationKind
from crnas_d2.space import AdditiveCost, Genotype

OPERATION = {
    "MODEL.SUPERNET.SPACE": "operation",
    "MODEL.GENOTYPE.DEPTHS": [1, 2, 1, 1],
    "SEARCH.BUDGET.BLOCKS": [],
}
STAGE = {"MODEL.SUPERNET.SPACE": "stage"}
JOINT = {"MODEL.SUPERNET.SPACE": "joint", "MODEL.SUPERNET.SHARING": "prefix"}
SIZE = (32, 32)


def operation_space(depths):
    return OperationKind().build_space(ResNetFamily(), Genotype(depths=depths))


SPACE = operation_space((1, 1, 1, 1))
COSTS = {name: {op: 0.1 * place + op for op in range(3)} for place, name in enumerate(SPACE.names)}
ORIGIN = {"device": "abacus", "torch": "2.0", "threads": 2, "input_size": [224, 224]}
TABLE = LatencyTable(
    AdditiveCost("LATENCY", "ms", SPACE, COSTS, 0.3),
    ORIGIN,
    [LatencyCheck(Genotype((1, 1, 1, 1), (0, 1, 2, 0)), 3.9, 4.1)],
)


def spec_of(*overrides):
    return NetworkSpec.from_config(toy.supernet_config(*overrides))


def load(path, space=SPACE, origin=ORIGIN):
    return LatencyTable.load(path, "LATENCY", space, origin)


class FakeClock(Clock):
    """Goes on only when a module says so."""

    now = 0.0

    def mark(self):
        self.marks.append(self.now)

    def intervals(self):
        marks, self.marks = self.marks, []
        return [end - begin for begin, end in pairwise(marks)]


class Meter(LatencyMeter):
    """A meter of a toy supernet whose every plain block takes its own time by a fake clock."""

    def __init__(self, *overrides, disturb=lambda: 0.0):
        real = build_meter(spec_of(*overrides), torch.device("cpu"), SIZE)
        super().__init__(real.body, real.image, FakeClock(), most_seconds=0)
        blocks = [module for module in self.body.modules() if isinstance(module, CNNBlockBase)]
        plain = [block for block in blocks if not isinstance(block, ChoiceBlock)]
        self.times = {module: 1.0 + place**2 / 8 for place, module in enumerate(plain)}

        def run(module, inputs):
            self.clock.now += self.times[module] + disturb()

        for module in plain:
            module.register_forward_pre_hook(run)

    def time_of(self, genotype):
        self.supernet.set_path(genotype)
        return sum(self.times.get(module, 0) for module in active_modules(self.body))


def sample(space, number):
    random = Random(3)
    return [space.sample(random) for _ in range(number)]


@pytest.mark.parametrize(
    "overrides",
    [STAGE, {**STAGE, "MODEL.SUPERNET.SHARING": "prefix"}, OPERATION, JOINT],
    ids=["stage", "prefix", "operation", "joint"],
)
def test_the_table_is_the_sum_of_what_runs(overrides):
    meter = Meter(overrides)
    cost = meter.measure()
    genotypes = sample(meter.space, 10)
    assert len(set(map(meter.time_of, genotypes))) > 3
    for genotype in genotypes:
        assert cost(genotype) == pytest.approx(meter.time_of(genotype))
    assert cost.of(meter.space.values(genotypes[0])) == cost(genotypes[0])
    assert (cost.name, cost.unit) == ("LATENCY", "ms")
    assert cost.base == pytest.approx(meter.times[meter.body.stem])


def test_single_disturbances_change_nothing():
    ticks = count()
    meter = Meter(OPERATION, disturb=lambda: 1e3 * (next(ticks) % 19 == 0))
    cost = meter.measure()
    for genotype in sample(meter.space, 5):
        assert cost(genotype) == pytest.approx(meter.time_of(genotype))


def test_a_check_sets_sums_against_whole_networks():
    meter = Meter(OPERATION)
    cost = meter.measure()
    genotypes = LatencyTable(cost).networks_to_check()
    assert genotypes == LatencyTable(cost).networks_to_check() and len(genotypes) == 6
    fastest, slowest, *_ = genotypes
    assert cost(fastest) == min(map(cost, meter.space))
    assert cost(slowest) == max(map(cost, meter.space))
    checks = LatencyTable(cost).checked(meter.time_networks(genotypes)).checks
    assert [check.genotype for check in checks] == genotypes
    assert max(check.error for check in checks) < 1e-9
    assert LatencyCheck(fastest, estimated=6.0, measured=8.0).error == 0.25


def test_the_number_of_rounds_is_bounded_by_time(monkeypatch):
    # Every round takes 3 passes of 40 ms.
    monkeypatch.setattr(latency_meter, "_WARM_UP", 1)
    passes = []
    for seconds, rounds in [(0, 5), (1.2, 10), (3600, 50)]:
        meter = Meter(OPERATION)
        meter.times = dict.fromkeys(meter.times, 40 / 6)
        meter.body.stem.register_forward_hook(lambda *_: passes.append(None))
        meter.most_seconds = seconds + 1e-6
        passes.clear()
        meter.measure()
        assert len(passes) == 3 * (1 + rounds)


def test_no_hook_stays_and_no_random_number_is_taken():
    spec = spec_of(OPERATION)
    state = torch.get_rng_state()
    meter = build_meter(spec, torch.device("cpu"), SIZE)
    meter.most_seconds = 0
    meter.measure()
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in meter.body.modules())


def test_the_clock_of_the_cpu_counts_milliseconds():
    clock = CPUClock()
    for pause in (0.0, 0.02, 0.04):
        time.sleep(pause)
        clock.mark()
    first, second = clock.intervals()
    assert 20 <= first < second and clock.marks == []


def test_a_table_is_the_same_after_it_was_written_and_read(tmp_path):
    path = tmp_path / "latency.json"
    TABLE.save(path)
    assert load(path) == TABLE
    assert [file.name for file in tmp_path.iterdir()] == ["latency.json"]


OTHER = r"latency\.json holds.*{}.*another OUTPUT_DIR"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "H200"}, OTHER.format("device was 'abacus' and is 'H200'")),
        ({"input_size": [80, 96]}, OTHER.format(r"input_size was \[224, 224\] and is \[80, 96\]")),
        ({"network": "1f"}, OTHER.format("network was None and is '1f'")),
        (operation_space((1, 1, 1, 2)), "not those of the operation space"),
        *[
            (text, r"latency\.json is not a table of latencies.*Remove it")
            for text in ("", "[]", "{}", '{"origin": {}, "choices": {"a": 1}}')
        ],
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path, change, words):
    path = tmp_path / "latency.json"
    TABLE.save(path)
    if isinstance(change, str):
        path.write_text(change)
    space = SPACE if isinstance(change, dict | str) else change
    origin = {**ORIGIN, **change} if isinstance(change, dict) else ORIGIN
    with pytest.raises(ValueError, match=words):
        load(path, space, origin)


def test_another_torch_is_warned_of_for_limits_must_stay(tmp_path, caplog):
    TABLE.save(tmp_path / "latency.json")
    assert load(tmp_path / "latency.json", origin={**ORIGIN, "threads": 1}) == TABLE
    assert not caplog.records
    table = load(tmp_path / "latency.json", origin={**ORIGIN, "torch": "3.0"})
    assert table == TABLE
    assert "torch 2.0; this is 3.0" in caplog.text


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(latency_meter, "_LEAST_ROUNDS", 3)
    monkeypatch.setattr(latency_meter, "_MOST_ROUNDS", 3)


def test_a_real_measurement_is_made_once(tmp_path, quick, monkeypatch, caplog):
    caplog.set_level("INFO", "crnas_d2")
    spec = spec_of(OPERATION)
    path = tmp_path / "new" / "latency.json"
    table = Latency("cpu", path).open_table(spec, SIZE)
    assert set(table.cost.options) == set(spec.space.names)
    times = [time for options in table.cost.options.values() for time in options.values()]
    assert all(0 < time < 1e3 for time in times)
    assert table.cost.base > 0
    assert 4 <= len(table.checks) <= 6  # the fastest and the slowest may be among the random ones
    assert "% of 6 whole networks" in caplog.text
    content = json.loads(path.read_text())
    assert content["unit"] == "ms" and content["origin"]["torch"] == torch.__version__
    assert content["origin"]["input_size"] == list(SIZE)

    monkeypatch.setattr(latency_module, "build_meter", None)  # not needed any more
    again = Latency("cpu", path).open_table(spec, SIZE)
    assert again.cost.options == table.cost.options and again.cost.base == table.cost.base
    with pytest.raises(ValueError, match="input_size was"):
        Latency("cpu", path).open_table(spec, (64, 64))
    cfg = toy.supernet_config(OPERATION, {"MODEL.DEVICE": "mps", "SEARCH.COSTS": ["LATENCY"]})
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE is 'mps'.*expected cpu or cuda"):
        build_costs(cfg, spec)


@pytest.mark.parametrize(("excess", "level"), [(1.1, "INFO"), (1.8, "WARNING")])
def test_a_large_error_of_the_sums_is_warned_of(excess, level, caplog):
    table = TABLE.checked({genotype: TABLE.cost(genotype) / excess for genotype in SPACE})
    with caplog.at_level("INFO", logger="crnas_d2"):
        table.log(Path("latency.json"))
    assert caplog.records[-1].levelname == level
    assert f"within {100 * (excess - 1):.1f} % of 81 whole networks" in caplog.text


def test_a_gpu_is_named_by_torch(monkeypatch):
    # The attribute must exist in torch, which patching it checks.
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert latency_module.device_name(torch.device("cuda:1")) == "GPU 1"
