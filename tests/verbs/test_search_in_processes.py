"""The gradient search on two ranks, as the recipes run it: SyncBN, and loaders with workers."""

import multiprocessing

import pytest
import torch
from detectron2.engine import launch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from search_toy import assert_same, check_resumed, config, train_at_once_and_resumed

from crnas_d2.data import register_coco_format
from crnas_d2.modeling import find_supernet


def train_on_a_rank(cfg, datasets, start_method):
    torch.set_num_threads(1)
    multiprocessing.set_start_method(start_method, force=True)
    register_coco_format(datasets)
    trainer, steps = train_at_once_and_resumed(cfg, killed_after=3)
    model = trainer._trainer.model.module
    state = {
        "weights": model.state_dict(),
        "norms": {type(conv.norm) for conv in find_supernet(model).convs.values()},
        "files": steps.files,
        "drawn": steps.drawn,
    }
    torch.save(state, f"{cfg.OUTPUT_DIR}/rank{comm.get_rank()}.pth")


# In a training the workers of a rank are spawned as the rank is: they import everything anew, which
# takes minutes, and know of no ranks. Forked ones do.
@pytest.fixture(scope="module", params=["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def folder(request, toy_datasets, tmp_path_factory):
    """What both ranks leave behind of a search, and of one that was killed and resumed."""
    folder = tmp_path_factory.mktemp("ranks")
    settings = {"MODEL.RESNETS.NORM": "SyncBN", "DATALOADER.NUM_WORKERS": 2}
    cfg = config(toy_datasets, folder, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        entries = toy_datasets["DATASETS.COCO_FORMAT"]
        launch(train_on_a_rank, 2, dist_url="auto", args=(cfg, entries, request.param))
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [torch.load(folder / f"rank{rank}.pth", weights_only=False) for rank in range(2)]


def test_all_ranks_keep_equal_weights_and_statistics(ranks):
    first, second = ranks
    assert_same(second["weights"], first["weights"])
    assert first["norms"] == second["norms"] == {NaiveSyncBatchNorm}


def test_the_ranks_share_the_images_and_draw_of_their_own(ranks):
    # One image each: within an epoch, not one that both have seen.
    seen = [[files[0] for name, files in rank["files"] if name == "weights"] for rank in ranks]
    assert len({*seen[0], *seen[1]}) == 12 and len(seen[0]) == 6
    first, second = ({value for _, value in rank["drawn"]} for rank in ranks)
    assert len(first | second) == 2 * len(first) == 18


def test_killed_and_resumed_it_is_the_uninterrupted_search(folder):
    halves = check_resumed(folder)["trainer"]["_trainer"]
    assert [halves[name]["loader"]["position"] for name in ("weights", "alpha")] == [6, 3]
