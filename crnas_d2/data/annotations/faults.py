"""The kinds of faults in a COCO dataset: one table for its use and for ``prepare``."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from crnas_d2.config import spell

from .coco import Record
from .mends import Fault, correct, drop, drop_images, renumber

TRAINING, SCORING, MASKS, PREPARE = "training", "scoring", "masks", "prepare"
_ALWAYS = frozenset((TRAINING, SCORING, PREPARE))
_IN_USE = frozenset((TRAINING, SCORING))
_SCORED = frozenset((SCORING,))


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        refused: where: in training, in scoring, where masks are used, by ``prepare``.
        fix: what to do, or why it is harmless.
        mend: how ``prepare`` mends its copy; without, it refuses the fault or keeps it.
        mended: that in words.
        accept: of what is probably not meant, the word by which a user accepts it.
        is_tolerated: whether few boxes of such kinds cannot be seen in an AP of two decimals.
        is_usual: whether it is no fault, and only counted.
    """

    refused: frozenset[str]
    fix: str
    mend: Callable[[Record, Sequence[Fault]], None] | None = None
    mended: str = ""
    accept: str = ""
    is_tolerated: bool = False
    is_usual: bool = False

    def is_refused(self, where: Collection[str], accepted: Collection[str] = ()) -> bool:
        return not self.refused.isdisjoint(where) and self.accept not in accepted


# Of the objects, those with tolerated faults; COCO itself has two boxes without area.
TOLERATED = 1e-4
_WRITE = f"correct them, or let {spell('prepare')} write a corrected copy"
RESTORE = "restore the files, or remove the images from the annotations"
_NUMBERED = "all annotations are numbered from 1"
_NEVER: frozenset[str] = frozenset()
_ASKED = frozenset((PREPARE,))
_READ = "what was meant is clear"

KINDS: Mapping[str, Kind] = {
    "no categories": Kind(_ALWAYS, "a detector needs at least one"),
    "category ids that occur twice": Kind(_ALWAYS, "give each category an id of its own"),
    "category names that occur twice": Kind(_ALWAYS, "merge the categories, or rename one"),
    "category names that differ in case or blanks alone": Kind(
        _ASKED,
        "merge them with --class 'OLD=NEW'",
        mended="kept as classes of their own",
        accept="similar-classes",
    ),
    "categories with at most one object": Kind(
        _ASKED,
        "such a class cannot be learnt, and may be a group of classes: leave it out with "
        "--class 'NAME='",
        mended="kept as classes",
        accept="rare-classes",
    ),
    "image ids that occur twice": Kind(_ALWAYS, "give each image an id of its own"),
    "image files that are listed twice": Kind(
        _ALWAYS, "list each file once, with all its annotations"
    ),
    "image files that are missing": Kind(_ALWAYS, RESTORE),
    "image files that cannot be decoded": Kind(_ALWAYS, RESTORE),
    "image sizes that are not those of the files": Kind(
        _ALWAYS, "the boxes are those of another image; correct width and height, or the image"
    ),
    "image sizes that are no whole numbers above 0": Kind(
        _IN_USE, "write width and height of the file, in pixels", correct, "read from the files"
    ),
    "images of more than 8 bits per channel": Kind(
        _ALWAYS,
        "Detectron2 would read them as white: say which values are black and white with "
        "--depth-range LOW HIGH",
    ),
    "images whose picture is in the alpha channel": Kind(
        _ALWAYS, "Detectron2 ignores it, and all else is one colour: paint them on a background"
    ),
    "images that are too thin to be resized": Kind(
        _NEVER,
        "more than 400 times as long as wide",
        drop_images,
        "dropped with their annotations: no pixel would be left of them",
    ),
    "images with pixels that are not opaque": Kind(_NEVER, "Detectron2 ignores the alpha channel"),
    "images with further pages": Kind(_NEVER, "Detectron2 reads the first one"),
    "images with the content of another": Kind(
        _NEVER, "an image must not be in two parts", drop_images, "dropped with their annotations"
    ),
    "images with the content of another, but other boxes": Kind(
        _NEVER, "they were annotated twice", drop_images, "dropped; the first one is kept"
    ),
    "images with the content of another, but other objects": Kind(
        _ASKED,
        "one of the two is annotated wrongly: remove that one",
        drop_images,
        "dropped; the first one is kept",
        accept="contradicting-twins",
    ),
    "images like one of another part": Kind(
        _NEVER, "an image must not be in two parts", drop_images, "dropped with their annotations"
    ),
    "images of a video or group of another part": Kind(
        _ASKED,
        "a test on them says little: let prepare divide all images (--test 0.2 --archval 0.2)",
        mended="kept in their part",
        accept="shared-groups",
    ),
    "images without an annotation file": Kind(
        _ASKED,
        "annotate them, or remove them",
        mended="left out",
        accept="unlabelled-images",
    ),
    "images without labels, read as background": Kind(_NEVER, "nothing is to be found in them"),
    "annotation files that name another image": Kind(
        _ASKED,
        "the image of the file's own name and <filename> are two that exist: correct one of them",
        mended="read with the image of the file's own name, as Detectron2 does",
        accept="renamed-images",
    ),
    "keys that occur twice in a JSON object": Kind(
        _ALWAYS, "remove one of them", mended="read with the last one", accept="repeated-keys"
    ),
    "annotation files that no image set lists": Kind(
        _NEVER, "list them to use them", mended="left out"
    ),
    "parts that are named, but not there": Kind(
        _NEVER, "correct their names", mended="the others are read"
    ),
    "ids written as text or decimals": Kind(_NEVER, _READ),
    "file names found by their base name": Kind(_NEVER, _READ),
    "boxes read from masks": Kind(_NEVER, "tight around the mask"),
    "COCO boxes with a rotation": Kind(
        _ASKED,
        "they may be those before the turn: export 'CVAT for images', where turned boxes are read",
        mended="kept as they are",
        accept="turned-boxes",
    ),
    "shapes of one group, read as one object": Kind(_NEVER, "of one group_id and label"),
    "rotated boxes, read as upright ones": Kind(_NEVER, "the hull of their corners"),
    "polygons, read as masks and boxes": Kind(_NEVER, "boxes are tight around them"),
    "ellipses and circles, read as boxes": Kind(_NEVER, "tight around them"),
    "points and lines": Kind(_NEVER, "draw boxes", mended="left out: they have no box"),
    "annotations of images that are not listed": Kind(
        _IN_USE, "list the images, or remove the annotations", drop, "dropped"
    ),
    "annotations of unknown categories": Kind(
        _ALWAYS, "add the categories, or remove the annotations"
    ),
    "annotations with the key 'ignore'": Kind(
        _ALWAYS,
        "Detectron2 does not support this key: mark them as crowd, or remove it",
        correct,
        "marked as crowd: not trained on, ignored in the evaluation",
        accept="ignored-objects",
    ),
    "values of iscrowd other than 0 and 1": Kind(_ALWAYS, "write 0 for an object"),
    "boxes that are not 4 finite numbers": Kind(
        _ALWAYS, "expected [x, y, width, height] in pixels"
    ),
    "boxes of negative width or height": Kind(
        _ALWAYS,
        "expected [x, y, width, height] with x, y of the upper left corner",
        correct,
        "corners exchanged",
        accept="swapped-corners",
    ),
    "VOC boxes whose corners are exchanged": Kind(
        _ASKED,
        "expected xmin <= xmax and ymin <= ymax",
        correct,
        "corners exchanged",
        accept="swapped-corners",
    ),
    "files whose boxes are below one pixel": Kind(
        _ALWAYS,
        "they look normalized to 0..1; write pixels",
        mended="kept as they are",
        accept="normalized-boxes",
    ),
    "files whose boxes look like two corners": Kind(
        _ALWAYS,
        "expected [x, y, width, height], not [x1, y1, x2, y2]",
        mended="kept as they are",
        accept="corner-boxes",
    ),
    "files most of whose boxes leave their images": Kind(
        _ASKED,
        "were the images resized after they were annotated? Expected pixels of the image files",
        mended="clipped to the images",
        accept="boxes-outside",
    ),
    "objects that occur twice": Kind(
        _ASKED,
        "equal boxes of one class in one image: remove the copies",
        drop,
        "copies dropped",
        accept="repeated-boxes",
    ),
    "boxes without area": Kind(
        _SCORED,
        f"no detection matches them, and training drops them: {_WRITE}",
        drop,
        "dropped",
        is_tolerated=True,
    ),
    "VOC boxes with equal corners": Kind(_NEVER, "one pixel wide or high", drop, "dropped"),
    "boxes wholly outside the image": Kind(
        _SCORED, f"no detection matches them: {_WRITE}", drop, "dropped", is_tolerated=True
    ),
    "boxes less than half inside the image": Kind(
        _SCORED,
        f"no detection inside the image matches them: {_WRITE}",
        correct,
        "clipped to the image",
        is_tolerated=True,
    ),
    "boxes partly outside the image": Kind(
        _NEVER, "clipped in training, scored as they are", correct, "clipped to the image"
    ),
    "crowd regions without area in the image": Kind(
        _NEVER, "no detection lies in them", drop, "dropped"
    ),
    "areas that are no numbers from 0 to 1e10": Kind(
        _SCORED,
        "COCO's evaluation skips such objects: write the area in pixels",
        correct,
        "filled in: width * height",
    ),
    "annotations without area or iscrowd": Kind(
        _NEVER, "taken as width * height, and 0", correct, "filled in: width * height, 0"
    ),
    "annotation ids that are missing or no whole numbers": Kind(
        _IN_USE, _WRITE, renumber, _NUMBERED
    ),
    "annotation ids that occur twice": Kind(_IN_USE, _WRITE, renumber, _NUMBERED),
    "annotations with id 0": Kind(
        _SCORED, f"COCO's evaluation reads 0 as 'no match': {_WRITE}", renumber, _NUMBERED
    ),
    "annotation ids below 0": Kind(_NEVER, "ids like others", renumber, _NUMBERED),
    "malformed segmentations": Kind(
        _ALWAYS, "expected polygons [[x, y, ...], ...] or an RLE; remove the key to use the boxes"
    ),
    "masks (RLE) of another size than their image": Kind(_ALWAYS, "expected [height, width]"),
    "malformed keypoints": Kind(_ALWAYS, "expected [x, y, visibility, ...]"),
    "objects without a mask": Kind(
        frozenset((MASKS,)), "add segmentation, or set MODEL.MASK_ON to False"
    ),
    "polygons apart from their boxes": Kind(
        _ASKED,
        "correct the one that is wrong, or remove the key segmentation",
        mended="kept as they are",
        accept="masks-apart",
    ),
    "objects whose polygons have less than 3 points": Kind(
        _NEVER, "skipped in training; remove the key segmentation to use the boxes"
    ),
    "crowd regions": Kind(_NEVER, "not trained on, ignored in the evaluation", is_usual=True),
    "parts without an object": Kind(
        _ASKED,
        "nothing can be trained or measured on them: annotate their images, or leave them out",
    ),
    "images without objects": Kind(
        _NEVER,
        "skipped in training (DATALOADER.FILTER_EMPTY_ANNOTATIONS), evaluated",
        is_usual=True,
    ),
    "images with more than 100 objects": Kind(
        _NEVER, "COCO's evaluation takes 100 detections per image", is_usual=True
    ),
}
