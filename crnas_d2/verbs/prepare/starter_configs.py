"""Starter configs for a user's own dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from crnas_d2.common.digests import text_digest
from crnas_d2.common.plain_yaml import dump_yaml
from crnas_d2.config.entries import nested

from .recipe import BASE, Recipe, Settings

# Of the blocks of a ResNet, [3, 4, 6, 3]: every network with fewer has its first ones.
_OPTIONS = [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3]]
# Of the detector's MACs; more candidates where there is time for them.
_BUDGET = {"quick": (0.6, 0.65), "standard": (0.5, 0.65), "paper": (0.0, 0.65)}
# CR-NAS, appendix A.1: widths halved.
_HALVED = {"STEM_OUT_CHANNELS": 32, "WIDTH_PER_GROUP": 32, "RES2_OUT_CHANNELS": 128}
_TRAIN_PARTS, _ALL_PARTS = ("archtrain",), ("archtrain", "archval")  # all but the test set


def starter_configs(
    name: str,
    entries: Mapping[str, tuple[Path, Path]],
    recipe: Recipe,
    *,
    num_classes: int,
    macs: float,
    folder: Path,
) -> dict[Path, str]:
    """Return the configs of all chains.

    Args:
        name: of the dataset; its parts are ``<name>_archtrain`` and so on.
        entries: ``(json file, image folder)`` of archtrain, archval and, if there is one, test.
        macs: of the detector's body, for one image of the recipe's size.
        folder: the folder of the configs; output goes to ``output`` below it.

    Returns:
        the text of each config, keyed by its path.
    """
    # The data are listed by absolute path, so that the configs work from any folder.
    configs = _Configs(name, recipe, folder.absolute())
    listed = [
        [f"{name}_{part}", *(str(path.absolute()) for path in entry)]
        for part, entry in entries.items()
    ]
    configs.add(
        "data",
        f"The dataset {name}: names, annotations and images of its parts.",
        {
            "MODEL.ROI_HEADS.NUM_CLASSES": num_classes,
            "MODEL.RETINANET.NUM_CLASSES": num_classes,
            "DATASETS.COCO_FORMAT": listed,
        },
    )
    clipping = {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 1.0}
    data, (shorter, longer), anchors = recipe.statistics, recipe.size, recipe.anchors
    small, large = (data.box_size(share) * shorter for share in (0.05, 0.95))
    configs.add(
        "detector",
        f"What all trainings and searches share: preset {recipe.preset}, device {recipe.device}; "
        f"{f'from {recipe.start}' if recipe.start else 'a narrow ResNet-34, from scratch'}.\n"
        f"Images: {data.shorter} x {data.longer} pixels (medians), resized to {shorter} x {longer}."
        f"\nAnchors: 5 % of the objects are smaller than {small:.0f} resized pixels (root of the "
        f"area), and 5 %\nare larger than {large:.0f}; sizes between them on "
        f"{', '.join(anchors.levels)}, ratios of the boxes.\nAll numbers are for one process; more "
        "GPUs scale batch, rates and iterations alike.",
        {
            **recipe.network(),
            "DATASETS.TEST": [f"{name}_test"] if "test" in entries else [],
            "SOLVER.CHECKPOINT_MAX_TO_KEEP": 2,
            **({"SOLVER.CLIP_GRADIENTS": clipping} if recipe.is_narrow else {}),
            "SEED": 1,
        },
        bases=[BASE, "data.yaml"],
    )
    _add_pruning(configs, macs)
    if recipe.has_channels:
        _add_channels(configs)
    if recipe.has_supernet:
        _add_supernet(configs)
    return configs.texts


def is_edited(path: Path, new: str) -> bool:
    """Whether an existing config must not be replaced by a new one: the user has changed it."""
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    mark, _, rest = text.partition("\n")
    return text != new and mark != _mark(rest)


def _mark(text: str) -> str:
    digest = text_digest(text, 12)
    return f"# Written by prepare, {digest}. Once you have edited it, it is not replaced."


class _Configs:
    """The texts of the configs of one dataset, by path."""

    def __init__(self, name: str, recipe: Recipe, folder: Path):
        self.name, self.recipe, self.folder = name, recipe, folder
        self.texts: dict[Path, str] = {}

    def add(self, run: str, comment: str, settings: Settings, bases: Sequence[str] = ()) -> None:
        content: Settings = {"_BASE_": list(bases)} if bases else {}
        content |= nested(settings)
        if run not in ("data", "detector"):
            content["OUTPUT_DIR"] = str(self.folder / "output" / run)
        text = "".join(f"# {line}\n" for line in comment.splitlines())
        text += dump_yaml(content)
        self.texts[self.folder / f"{run}.yaml"] = f"{_mark(text)}\n{text}"

    def add_training(
        self,
        run: str,
        comment: str,
        settings: Settings,
        *,
        parts: Sequence[str],
        solver: Settings,
        archval: bool = False,
        source: str = "",
    ) -> None:
        """Add a training of the detector, or of a supernet; its comment ends with its epochs."""
        images = self.recipe.archtrain if parts == _TRAIN_PARTS else self.recipe.statistics.images
        epochs = solver["MAX_ITER"] * solver["IMS_PER_BATCH"] / images
        datasets = {"DATASETS.TRAIN": [f"{self.name}_{part}" for part in parts]}
        if archval:
            datasets["DATASETS.ARCHVAL"] = [f"{self.name}_archval"]
        self.add(
            run,
            f"{comment};\n{epochs:.3g} epochs of {images} images{source}.",
            {**settings, **datasets, "SOLVER": solver},
            bases=["detector.yaml"],
        )

    def result(self, run: str) -> str:
        return str(self.folder / "output" / run / "model_final.pth")


def _add_pruning(configs: _Configs, macs: float) -> None:
    """Add the configs of a trained detector, its search and the two fine-tunings."""
    recipe = configs.recipe
    configs.add_training(
        "baseline",
        "The detector, on archtrain alone, because the search scores it on archval",
        {"MODEL.WEIGHTS": recipe.start} if recipe.start else {},
        parts=_TRAIN_PARTS,
        solver=recipe.schedule(recipe.archtrain, recipe.images_seen, recipe.rate),
    )
    trained = {"MODEL.WEIGHTS": configs.result("baseline"), "MODEL.INHERIT": True}
    configs.add(
        "search",
        "Which blocks of the detector are needed? Networks with its first blocks, within 0.65 of\n"
        f"its {macs / 1e9:.4g} G MACs (body), scored on archval with its weights.\n"
        "SEARCH.IMAGE_SIZES would let it choose the size of the images, too.",
        {
            **trained,
            "MODEL.SUPERNET.SPACE": "stage",
            "MODEL.SUPERNET.SHARING": "prefix",
            **(
                {"MODEL.BACKBONE.FREEZE_AT": 0}  # the choices are scored in all stages
                if recipe.is_lite  # whose family has its own options
                else {"MODEL.SUPERNET.STAGE_OPTIONS": _OPTIONS}
            ),
            "SEARCH.BUDGET.MACS": [round(share * macs) for share in _BUDGET[recipe.preset]],
            "SEARCH.BN_CALIBRATION.NUM_IMAGES": 64 if recipe.preset == "quick" else 200,
            "DATASETS.ARCHVAL": [f"{configs.name}_archval"],
        },
        bases=["baseline.yaml"],
    )
    images = recipe.statistics.images
    configs.add_training(
        "finetuned",
        "The detector, trained further on all images but those of the test set",
        trained,
        parts=_ALL_PARTS,
        solver=recipe.schedule(images, recipe.images_seen // 2, recipe.rate / 2),
    )
    configs.add(
        "found",
        "As finetuned.yaml, with the network that the search found; it starts from the detector's\n"
        "weights, whose BN statistics frozen stages keep. After SEARCH.FINALISTS, start from its\n"
        "output/search/model_best.pth instead (MODEL.WEIGHTS).",
        {},
        bases=["finetuned.yaml", "output/search/genotype.yaml"],
    )


def _add_channels(configs: _Configs) -> None:
    """Add the configs of a search by gradient (NATS), of what it finds and its baseline."""
    recipe = configs.recipe
    configs.add_training(
        "pretrained",
        "The network from its ImageNet weights, on all images but those of the test set",
        {"MODEL.WEIGHTS": recipe.start},
        parts=_ALL_PARTS,
        solver=recipe.schedule(recipe.statistics.images, recipe.images_seen, recipe.rate),
    )
    configs.add(
        "mixed",
        "As pretrained.yaml, with the dilations that the search found.",
        {},
        bases=["pretrained.yaml", "output/channels/genotype.yaml"],
    )
    # NATS, section 4.2: 25 epochs where the networks have 13, along a cosine.
    solver = recipe.schedule(recipe.archtrain, 25 * recipe.images_seen // 13, recipe.rate)
    configs.add_training(
        "channels",
        "Search by gradient: trains weights on archtrain, the dilations of channels on archval",
        {
            "MODEL.WEIGHTS": recipe.start,
            "MODEL.SUPERNET.SPACE": "channel",
            "MODEL.SUPERNET.PATH_SAMPLER": "alpha",
            "MODEL.SUPERNET.CHANNEL.STAGES": ["res3", "res4", "res5"],
            "MODEL.SUPERNET.CHANNEL.DILATION_SET": "C",
        },
        parts=_TRAIN_PARTS,
        solver=solver | {"LR_SCHEDULER_NAME": "WarmupCosineLR", "STEPS": []},
        archval=True,
        source=" (NATS, section 4.2)",
    )


def _add_supernet(configs: _Configs) -> None:
    """Add the configs of CR-NAS's stage level from scratch."""
    recipe = configs.recipe
    sharing = recipe.supernet_sharing
    configs.add_training(
        "supernet",
        f"A supernet of half the width, on archtrain, SHARING {sharing}",
        {
            "MODEL.SUPERNET.SPACE": "stage",
            "MODEL.SUPERNET.SHARING": sharing,
            "MODEL.RESNETS": _HALVED,
            "SEARCH.BUDGET.BLOCKS": [16, 16],
        },
        parts=_TRAIN_PARTS,
        solver=recipe.schedule(recipe.archtrain, 25 * recipe.images_seen // 13, recipe.rate, 25),
        archval=True,
        source=" (CR-NAS, appendix A.1)",
    )
    configs.add(
        "supernet_search",
        "The search of the supernet, on archval.",
        {"MODEL.WEIGHTS": configs.result("supernet")},
        bases=["supernet.yaml"],
    )
    configs.add_training(
        "scratch",
        "ResNet-50 from scratch, on all images but those of the test set",
        {"MODEL.GENOTYPE.DEPTHS": [3, 4, 6, 3]},
        parts=_ALL_PARTS,
        solver=recipe.schedule(recipe.statistics.images, recipe.images_seen, recipe.rate),
    )
    configs.add(
        "searched",
        "As scratch.yaml, with the blocks that the search found.",
        {},
        bases=["scratch.yaml", "output/supernet_search/genotype.yaml"],
    )
