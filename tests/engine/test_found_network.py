"""During a channel search, the network that it has found is scored, not the mixture."""

import pytest
import torch
from detectron2.engine import DefaultTrainer
from search_toy import check_resumed, config, train, train_at_once_and_resumed

from crnas_d2.checkpoint import decode_state_dict
from crnas_d2.engine import Trainer
from crnas_d2.modeling import MixedSupernet, find_supernet

TEST = {"DATASETS.TEST": ("toy_test",), "TEST.EVAL_PERIOD": 2, "SOLVER.ALPHA.BASE_LR": 0.5}


def test_the_found_network_is_scored_with_statistics_of_its_own(
    toy_datasets, tmp_path, monkeypatch
):
    scored = []

    def record(cls, cfg, model, evaluators=None):
        scored.append({name: value.clone() for name, value in model.state_dict().items()})
        assert find_supernet(model) is None
        return {"bbox": {"AP": 1.0}}

    monkeypatch.setattr(DefaultTrainer, "test", classmethod(record))
    cfg = config(toy_datasets, tmp_path, TEST)
    trainer = train(cfg)
    assert len(scored) == 3  # after 2, 4 and 6 iterations
    # The network of the genotype, made from the checkpoint as a user would.
    supernet = find_supernet(trainer.model)
    assert isinstance(supernet, MixedSupernet)
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "fixed"
    cfg.MODEL.GENOTYPE.CHANNELS = [list(c) for c in supernet.decode().channels]
    model = Trainer.build_model(cfg)
    expected = decode_state_dict(model, trainer.model.state_dict())
    assert scored[-1].keys() == expected.keys()
    for name, value in expected.items():
        if "running_" not in name and "num_batches" not in name:
            assert torch.equal(scored[-1][name], value), name
    # The stem sees all 12 images, two batches, without augmentation; its mean is their average.
    norm = "backbone.bottom_up.stem.conv1.norm"
    assert int(scored[-1][f"{norm}.num_batches_tracked"]) == 2
    # Each convolution with several dilations gets another input than in the mixture.
    place = "backbone.bottom_up.res5.0.conv2.norm.running_mean"
    assert not torch.allclose(scored[-1][place], expected[place])


def test_scores_in_between_do_not_change_the_search(toy_datasets, tmp_path):
    train_at_once_and_resumed(config(toy_datasets, tmp_path, TEST), killed_after=3)
    scored = check_resumed(tmp_path)
    train(config(toy_datasets, tmp_path / "plain", {"SOLVER.ALPHA.BASE_LR": 0.5}))
    plain = torch.load(tmp_path / "plain" / "model_final.pth", weights_only=True)
    for name, value in plain["model"].items():
        assert torch.equal(value, scored["model"][name]), name


@pytest.mark.parametrize("norm", ["SyncBN", "FrozenBN"])
def test_other_norms_are_scored_too(norm, toy_datasets, tmp_path):
    settings = {"MODEL.RESNETS.NORM": norm, "SOLVER.MAX_ITER": 2, "SEARCH.IMS_PER_BATCH": 3}
    cfg = config(toy_datasets, tmp_path, TEST, settings)
    assert "bbox" in train(cfg)._last_eval_results
