"""What networks take for what, and the images in which they differ most."""

from collections.abc import Mapping, Sequence

from detectron2.data import MetadataCatalog

from crnas_d2.runs.comparison import Comparison
from crnas_d2.runs.mistakes import LEAST_SCORE, Mistakes

from .detections import draw_boxes
from .page import Page

_PAIRS = 10  # classes that are confused, at most
_IMAGES = 4


def add_mistakes(page: Page, comparison: Comparison) -> None:
    """Add confused classes, and the images in which networks differ most; all have detections."""
    mistakes = comparison.mistakes()
    page.heading("Mistakes")
    page.text(
        f"Detections with a score of at least {LEAST_SCORE:g}. One finds an object of its class "
        "that it overlaps with an IoU of at least 0.5; what is left over is matched across classes."
    )
    rows = [[name, *each.totals.values()] for name, each in mistakes.items()]
    head = ["network", *next(iter(mistakes.values())).totals]
    page.table(head, rows)
    classes = MetadataCatalog.get(comparison.dataset).thing_classes
    if pairs := confused_classes(mistakes, classes):
        page.text(f"The classes that are confused most often, at most {_PAIRS}:")
        page.table(["object", "detected as", *mistakes], pairs)
    _add_differences(page, comparison, mistakes)


def confused_classes(
    mistakes: Mapping[str, Mistakes], classes: Sequence[str]
) -> list[list[object]]:
    """Return the pairs of classes that are confused most often, with the number per network."""
    counts = {
        (wanted, given): [int(each.counts[wanted, given]) for each in mistakes.values()]
        for wanted in range(len(classes))
        for given in range(len(classes))
        if wanted != given
    }
    most = sorted(counts, key=lambda pair: -sum(counts[pair]))[:_PAIRS]
    return [[*(classes[n] for n in pair), *counts[pair]] for pair in most if any(counts[pair])]


def _add_differences(page: Page, comparison: Comparison, mistakes: Mapping[str, Mistakes]) -> None:
    """Show the images in which one network makes the most mistakes more than another one."""
    numbers = {
        image: [each.by_image[image] for each in mistakes.values()]
        for image in next(iter(mistakes.values())).by_image
    }
    differences = {image: max(of) - min(of) for image, of in numbers.items()}
    most = sorted(differences, key=lambda image: -differences[image])[:_IMAGES]
    if not (most := [image for image in most if differences[image]]):
        return
    page.heading("The largest differences")
    page.text(
        "Images in which the networks differ most in the number of their mistakes: objects missed "
        "or taken for another class, and detections where no object is."
    )
    for image, picture in comparison.images_with(most):
        detections = {
            f"{run.name}, mistakes: {number}": run.detections or []
            for run, number in zip(comparison.runs, numbers[image["image_id"]], strict=True)
        }
        page.pictures(draw_boxes(comparison.dataset, image, picture, detections))
