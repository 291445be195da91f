"""Split a dataset by image: uniformly at random, or so that every category is in both parts.

Each split has a private generator: equal arguments give equal parts.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path

from crnas_d2.common.files import AnyPath
from crnas_d2.config import spell
from crnas_d2.data.images.equal_files import find_repeated

from .coco import Record, subset

METHODS = {
    "random": "uniformly at random, by image",
    "stratified": "iterative stratification by image (Sechidis et al., ECML PKDD 2011)",
}


def split_coco(
    coco: Record,
    size: float,
    *,
    seed: int,
    stratify: bool,
    sources: Mapping[str, str],
    held_out: str = "archval",
    image_root: AnyPath | None = None,
    groups: Mapping[str, str] | None = None,
) -> tuple[Record, Record]:
    """Split a dataset by image; those with a twin of the same content stay in archtrain.

    Args:
        size: of the part that is held out, see :func:`held_out_count`.
        stratify: by the categories of each image, without crowd regions.
        sources, held_out: sha256 of each source file, and the name of the part, for ``info``.
        image_root: the folder of the images; ``None``: they are not compared.
        groups: by file name; the images of a group all go to one part, and the size of the part
            that is held out is as near as groups allow, never larger.

    Returns:
        archtrain and the part that is held out; ``info["split"]`` records how they were made.

    Raises:
        ValueError: an impossible size, or records that would belong to no part or to both.
    """
    images = Counter(image["id"] for image in coco["images"])
    repeated = [image_id for image_id, count in images.items() if count > 1]
    strays = [a.get("id") for a in coco["annotations"] if a["image_id"] not in images]
    if repeated or strays:
        what = (
            f"image id {repeated[0]} occurs twice"
            if repeated
            else f"{len(strays)} annotations, the first with id {strays[0]}, are of no listed image"
        )
        raise ValueError(
            f"The annotations cannot be split by image: {what}. {spell('prepare')} reports such "
            "errors and fixes those that can be fixed."
        )
    labels: dict[int, set[int]] = {image_id: set() for image_id in images}
    for annotation in coco["annotations"]:
        if not annotation.get("iscrowd", 0):
            labels[annotation["image_id"]].add(annotation["category_id"])
    count = held_out_count(size, len(labels))
    twins = set()
    if image_root is not None:
        files = {str(Path(image_root, image["file_name"])): image["id"] for image in coco["images"]}
        twins = {files[file] for file in find_repeated(list(files))}
    unique = {image_id: its for image_id, its in labels.items() if image_id not in twins}
    if count > len(unique):
        raise ValueError(
            f"{count} of {len(labels)} images cannot be held out: {len(twins)} have the content "
            "of another one, and stay together in archtrain. Hold out fewer."
        )
    if groups is None:
        chosen = (stratified_split if stratify else random_split)(unique, count, seed)
    else:
        chosen = _split_groups(unique, count, seed, coco["images"], groups)
    parts = []
    for name, image_ids in (("archtrain", labels.keys() - chosen), (held_out, chosen)):
        split = {
            "part": name,
            "images": len(image_ids),
            "images_divided": len(labels),
            "seed": seed,
            "method": METHODS["stratified" if stratify else "random"],
            "sources": dict(sources),
            **({"images_with_a_twin": len(twins)} if twins else {}),
            **({"groups": len(set(groups.values()))} if groups else {}),
        }
        parts.append(subset(coco, image_ids, {"split": split}))
    return parts[0], parts[1]


def _split_groups(
    labels: Mapping[int, set[int]],
    num_held_out: int,
    seed: int,
    images: Sequence[Record],
    groups: Mapping[str, str],
) -> set[int]:
    """Return the images to hold out: whole groups, each like one image with all its categories."""
    members: dict[str, list[int]] = defaultdict(list)
    for image in images:
        members[groups[image["file_name"]]].append(image["id"])
    by_first = {ids[0]: ids for ids in members.values()}
    joined = {first: set().union(*(labels[i] for i in ids)) for first, ids in by_first.items()}
    weights = {first: len(ids) for first, ids in by_first.items()}
    chosen = stratified_split(joined, num_held_out, seed, weights)
    held_out = {image_id for first in chosen for image_id in by_first[first]}
    if len(held_out) < num_held_out / 2:
        largest = max(members, key=lambda name: len(members[name]))
        raise ValueError(
            f"{num_held_out} of {len(labels)} images cannot be held out, because images of a "
            f"group stay together: there are {len(members)}, the largest one with "
            f"{len(members[largest])} images, e.g. {largest}. Give parts of your own, or other "
            "groups with --group PATTERN ('.*' for none but by look and copies)."
        )
    return held_out


def held_out_count(size: float, num_images: int) -> int:
    """Return how many of ``num_images`` a size is: below 1 a fraction, else the number itself.

    Raises:
        ValueError: a size that leaves one of the two parts empty.
    """
    count = round(size * num_images) if 0 < size < 1 else size
    if not 0 < count < num_images or count != int(count):
        numbers = f"a fraction, e.g. 0.2, or a whole number from 1 to {num_images - 1}"
        raise ValueError(
            f"{size:g} of {num_images} images cannot be held out; expected "
            f"{numbers if num_images > 1 else 'two images or more'}."
        )
    return int(count)


def random_split(
    labels: Mapping[int, Collection[Hashable]], num_held_out: int, seed: int
) -> set[int]:
    """Sample the image ids to hold out uniformly; arguments as in :func:`stratified_split`."""
    return set(random.Random(seed).sample(sorted(labels), num_held_out))


def stratified_split(
    labels: Mapping[int, Collection[Hashable]],
    num_held_out: int,
    seed: int,
    weights: Mapping[int, int] | None = None,
) -> set[int]:
    """Choose the image ids to hold out so that each category is split in the same proportion.

    Iterative stratification: repeatedly take the category with the fewest images left, and assign
    each of its images to the part that lacks more of this category. A tie goes to the part that
    lacks more images, a further tie is broken at random. A full part takes no more images, so the
    sizes are exact.

    Args:
        labels: the categories in each image, keyed by image id.
        weights: images that each stands for, default 1; a part takes none that does not fit.

    Source: K. Sechidis, G. Tsoumakas, I. Vlahavas: On the Stratification of Multi-Label Data, ECML
    PKDD 2011, algorithm 1.
    """
    generator = random.Random(seed)
    order = sorted(labels)
    generator.shuffle(order)
    weight = weights or dict.fromkeys(order, 1)
    order.sort(key=lambda image: -weight[image])  # large ones first, while they fit
    total = sum(weight[image] for image in order)
    share = num_held_out / total
    sizes = [total - num_held_out, num_held_out]  # images that each part still lacks
    # Per part, the images of each category that it still lacks (c_j^i in algorithm 1).
    totals: Counter[Hashable] = Counter()
    images_with: dict[Hashable, list[int]] = {}
    for image in order:
        for category in set(labels[image]):
            totals[category] += weight[image]
            images_with.setdefault(category, []).append(image)
    wanted = [
        {category: count * part for category, count in totals.items()}
        for part in (1 - share, share)
    ]
    left = dict(totals)
    part_of: dict[int, int] = {}

    def put(image: int, part: int) -> None:
        part_of[image] = part
        sizes[part] -= weight[image]
        for category in set(labels[image]):
            wanted[part][category] -= weight[image]
            left[category] -= weight[image]

    while any(left.values()):
        # The name breaks ties, because the order of a set of strings differs between processes.
        rarest = min((c for c in left if left[c]), key=lambda c: (left[c], str(c)))
        for image in images_with[rarest]:
            if image not in part_of:
                open_parts = [part for part in (0, 1) if sizes[part] >= weight[image]] or [0]
                put(
                    image,
                    max(
                        open_parts,
                        key=lambda part: (wanted[part][rarest], sizes[part], generator.random()),
                    ),
                )
    # Images without objects fill both parts up, in the shuffled order.
    for image in [image for image in order if image not in part_of]:
        put(image, 1 if sizes[1] >= weight[image] else 0)
    return {image for image, part in part_of.items() if part == 1}
