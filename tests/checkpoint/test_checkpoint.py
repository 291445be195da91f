import pytest
import torch

from crnas_d2.checkpoint import StrictCheckpointer


def model():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 4, 3), "norm": torch.nn.BatchNorm2d(4)})


def save(tmp_path, state):
    file = tmp_path / "weights.pth"
    torch.save({"model": state}, file)
    return str(file)


def test_an_exact_file_is_loaded(tmp_path):
    saved = model()
    torch.nn.init.ones_(saved["conv"].weight)
    loaded = model()
    StrictCheckpointer(loaded).load(save(tmp_path, saved.state_dict()))
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name])


def test_what_a_trainer_saves_is_exact(trained, trained_supernet):
    # The fixture loads it; a checkpoint holds the optimizer and the iteration as well.
    checkpoint = torch.load(trained.MODEL.WEIGHTS, weights_only=True)
    assert {"model", "trainer", "iteration"} <= set(checkpoint)
    for name, value in trained_supernet.state_dict().items():
        assert torch.equal(value, checkpoint["model"][name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("conv.bias"), r"1 that the model needs, the file lacks: conv\.bias"),
        (
            lambda s: s.update(other=torch.zeros(1)),
            "1 that the file holds, the model has no place for: other",
        ),
        (
            lambda s: s.update({"conv.weight": torch.zeros(4, 3, 1, 1)}),
            r"differ in shape.*conv\.weight.*4, 3, 1, 1.*4, 3, 3, 3",
        ),
        (lambda s: s.pop("norm.running_mean"), r"norm\.running_mean"),
    ],
    ids=["missing", "unexpected", "shape", "missing buffer"],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, change, words):
    state = dict(model().state_dict())
    change(state)
    with pytest.raises(ValueError, match=words):
        StrictCheckpointer(model()).load(save(tmp_path, state))
