"""Starter configs for a user's own dataset."""

import os
from collections.abc import Mapping
from pathlib import Path

from .config_writer import ConfigWriter
from .recipe import Recipe

BASE = "crnas_d2://configs/Base-RCNN-FPN.yaml"
# Of the detector's blocks, [3, 4, 6, 3]: every network with fewer has its first ones.
_OPTIONS = [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3]]
# Of the detector's MACs; more candidates where there is time for them.
_BUDGET = {"quick": (0.6, 0.65), "standard": (0.5, 0.65), "paper": (0.0, 0.65)}


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
    folder = Path(os.path.abspath(folder))
    writer = ConfigWriter(name, recipe, folder)
    listed = [[f"{name}_{part}", *map(os.path.abspath, entry)] for part, entry in entries.items()]
    classes = {"ROI_HEADS": {"NUM_CLASSES": num_classes}, "RETINANET": {"NUM_CLASSES": num_classes}}
    writer.write(
        "data",
        f"The dataset {name}: names, annotations and images of its parts.",
        [],
        {"MODEL": classes, "DATASETS": {"COCO_FORMAT": listed}},
    )
    test = {"DATASETS": {"TEST": [f"{name}_test"] if "test" in entries else []}}
    clipping = {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 1.0}
    solver = {"CHECKPOINT_MAX_TO_KEEP": 2}
    if recipe.is_narrow:
        solver["CLIP_GRADIENTS"] = clipping
    writer.write(
        "detector",
        _detector_comment(recipe),
        [BASE, "data.yaml"],
        *(recipe.network(), test, {"SOLVER": solver, "SEED": 1}),
    )
    _write_pruning(writer, macs)
    if recipe.has_channels:
        _write_channels(writer)
    if recipe.has_supernet:
        _write_supernet(writer)
    return writer.texts


def _detector_comment(recipe: Recipe) -> str:
    data, (shorter, longer), anchors = recipe.statistics, recipe.size, recipe.anchors
    start = f"from {recipe.start}" if recipe.start else "a narrow ResNet-34, from scratch"
    small, large = (data.box_size(share) * shorter for share in (0.05, 0.95))
    return f"""\
What all trainings and searches share: preset {recipe.preset}, device {recipe.device}; {start}.
Images: {data.shorter} x {data.longer} pixels (medians), resized to {shorter} x {longer}.
Anchors: 5 % of the objects are smaller than {small:.0f} resized pixels (root of the area), and 5 %
are larger than {large:.0f}; sizes between them on {", ".join(anchors.levels)}, ratios of the boxes.
All numbers are for one process; more GPUs scale batch, rates and iterations alike."""


def _epochs(images: int, solver: Mapping) -> str:
    epochs = solver["MAX_ITER"] * solver["IMS_PER_BATCH"] / images
    return f"{epochs:.3g} epochs of {images} images"


def _write_pruning(writer: ConfigWriter, macs: float) -> None:
    """Write the configs of a trained detector, its search and the two fine-tunings."""
    recipe = writer.recipe
    solver = recipe.schedule(recipe.archtrain, recipe.images_seen, recipe.rate)
    writer.write(
        "baseline",
        f"The detector, on archtrain alone, because the search scores it on archval;\n"
        f"{_epochs(recipe.archtrain, solver)}.",
        ["detector.yaml"],
        {"MODEL": {"WEIGHTS": recipe.start}} if recipe.start else {},
        *(writer.parts("archtrain"), {"SOLVER": solver}),
    )
    least, most = (share * macs for share in _BUDGET[recipe.preset])
    writer.write(
        "search",
        "Which blocks of the detector are needed? Networks with its first blocks, within 0.65 of\n"
        f"its {macs / 1e9:.4g} G MACs (body), scored on archval with its weights.",
        ["baseline.yaml"],
        {
            "MODEL": {
                "WEIGHTS": writer.result("baseline", "model_final.pth"),
                "INHERIT": True,
                "SUPERNET": {
                    "SPACE": "stage",
                    "SHARING": "prefix",
                    "STAGE_OPTIONS": _OPTIONS,
                },
            },
            "SEARCH": {
                "BUDGET": {"MACS": [round(least), round(most)]},
                "BN_CALIBRATION": {"NUM_IMAGES": 64 if recipe.preset == "quick" else 200},
            },
        },
        {"DATASETS": {"ARCHVAL": [f"{writer.name}_archval"]}},
    )
    images = recipe.statistics.images
    solver = recipe.schedule(images, recipe.images_seen // 2, recipe.rate / 2)
    writer.write(
        "finetuned",
        "The detector, trained further on all images but those of the test set;\n"
        f"{_epochs(images, solver)}.",
        ["detector.yaml"],
        {"MODEL": {"WEIGHTS": writer.result("baseline", "model_final.pth"), "INHERIT": True}},
        *(writer.parts("archtrain", "archval"), {"SOLVER": solver}),
    )
    writer.write(
        "found",
        "As finetuned.yaml, with the network and the weights that the search found.",
        ["finetuned.yaml", "output/search/genotype.yaml"],
        {"MODEL": {"WEIGHTS": writer.result("search", "model_best.pth")}},
    )


def _write_channels(writer: ConfigWriter) -> None:
    """Write the configs of a search by gradient (NATS), of what it finds and its baseline."""
    recipe = writer.recipe
    weights = {"MODEL": {"WEIGHTS": recipe.start}}
    images = recipe.statistics.images
    solver = recipe.schedule(images, recipe.images_seen, recipe.rate)
    writer.write(
        "pretrained",
        "The network from its ImageNet weights, on all images but those of the test set;\n"
        f"{_epochs(images, solver)}.",
        ["detector.yaml"],
        *(weights, writer.parts("archtrain", "archval"), {"SOLVER": solver}),
    )
    writer.write(
        "mixed",
        "As pretrained.yaml, with the dilations that the search found.",
        ["pretrained.yaml", "output/channels/genotype.yaml"],
    )
    # NATS, section 4.2: 25 epochs where the networks have 13, along a cosine.
    solver = recipe.schedule(recipe.archtrain, 25 * recipe.images_seen // 13, recipe.rate)
    solver |= {"LR_SCHEDULER_NAME": "WarmupCosineLR", "STEPS": []}
    writer.write(
        "channels",
        "Search by gradient: trains weights on archtrain, the dilations of channels on archval;\n"
        f"{_epochs(recipe.archtrain, solver)} (NATS, section 4.2).",
        ["detector.yaml"],
        *(weights, writer.parts("archtrain", archval=True), {"SOLVER": solver}),
        {
            "MODEL": {
                "SUPERNET": {
                    "SPACE": "channel",
                    "PATH_SAMPLER": "alpha",
                    "CHANNEL": {"STAGES": ["res3", "res4", "res5"], "DILATION_SET": "C"},
                }
            },
        },
    )


def _write_supernet(writer: ConfigWriter) -> None:
    """Write the configs of CR-NAS's stage level from scratch."""
    recipe = writer.recipe
    images = recipe.statistics.images
    solver = recipe.schedule(recipe.archtrain, 25 * recipe.images_seen // 13, recipe.rate, 25)
    # CR-NAS, appendix A.1: widths halved.
    halved = {"STEM_OUT_CHANNELS": 32, "WIDTH_PER_GROUP": 32, "RES2_OUT_CHANNELS": 128}
    sharing = recipe.supernet_sharing
    writer.write(
        "supernet",
        f"A supernet of half the width, on archtrain, SHARING {sharing};\n"
        f"{_epochs(recipe.archtrain, solver)} (CR-NAS, appendix A.1).",
        ["detector.yaml"],
        {
            "MODEL": {
                "SUPERNET": {"SPACE": "stage", "SHARING": sharing},
                "RESNETS": halved,
            },
            "SEARCH": {"BUDGET": {"BLOCKS": [16, 16]}},
        },
        *(writer.parts("archtrain", archval=True), {"SOLVER": solver}),
    )
    writer.write(
        "supernet_search",
        "The search of the supernet, on archval.",
        ["supernet.yaml"],
        {"MODEL": {"WEIGHTS": writer.result("supernet", "model_final.pth")}},
    )
    solver = recipe.schedule(images, recipe.images_seen, recipe.rate)
    writer.write(
        "scratch",
        "ResNet-50 from scratch, on all images but those of the test set;\n"
        f"{_epochs(images, solver)}.",
        ["detector.yaml"],
        {"MODEL": {"GENOTYPE": {"DEPTHS": [3, 4, 6, 3]}}},
        *(writer.parts("archtrain", "archval"), {"SOLVER": solver}),
    )
    writer.write(
        "searched",
        "As scratch.yaml, with the blocks that the search found.",
        ["scratch.yaml", "output/supernet_search/genotype.yaml"],
    )
