"""Sample the images to hold out: uniformly, or so that every category is in both parts.

Pure functions on image ids, each with a private generator: equal arguments give equal parts.
"""

import random
from collections import Counter
from collections.abc import Collection, Hashable, Mapping

METHODS = {
    "random": "uniformly at random, by image",
    "stratified": "iterative stratification by image (Sechidis et al., ECML PKDD 2011)",
}


def held_out_count(size: float, num_images: int) -> int:
    """Turn a size into a number of images.

    Args:
        size: below 1 a fraction, rounded to whole images; otherwise a number of images.
        num_images: number of images to split.

    Raises:
        ValueError: a size that leaves one of the two parts empty.
    """
    count = round(size * num_images) if 0 < size < 1 else size
    if not 0 < count < num_images or count != int(count):
        raise ValueError(
            f"{size:g} of {num_images} images cannot be held out; expected a fraction, e.g. 0.2, "
            f"or a whole number from 1 to {num_images - 1}."
        )
    return int(count)


def random_split(
    labels: Mapping[int, Collection[Hashable]], num_held_out: int, seed: int
) -> set[int]:
    """Sample the image ids to hold out uniformly; arguments as in :func:`stratified_split`."""
    return set(random.Random(seed).sample(sorted(labels), num_held_out))


def stratified_split(
    labels: Mapping[int, Collection[Hashable]], num_held_out: int, seed: int
) -> set[int]:
    """Choose the image ids to hold out so that each category is split in the same proportion.

    Iterative stratification: repeatedly take the category with the fewest images left, and assign
    each of its images to the part that lacks more of this category. A tie goes to the part that
    lacks more images, a further tie is broken at random. A full part takes no more images, so the
    sizes are exact.

    Args:
        labels: the categories in each image, keyed by image id.
        num_held_out: number of images to return.

    Source:
        K. Sechidis, G. Tsoumakas, I. Vlahavas: On the Stratification of Multi-Label Data, ECML
        PKDD 2011, algorithm 1.
    """
    generator = random.Random(seed)
    order = sorted(labels)
    generator.shuffle(order)
    share = num_held_out / len(order)
    sizes = [len(order) - num_held_out, num_held_out]  # images that each part still lacks
    # Per part, the images of each category that it still lacks (c_j^i in algorithm 1).
    totals = Counter(category for image in order for category in set(labels[image]))
    wanted = [
        {category: total * part for category, total in totals.items()}
        for part in (1 - share, share)
    ]
    images_with: dict[Hashable, list[int]] = {category: [] for category in totals}
    for image in order:
        for category in set(labels[image]):
            images_with[category].append(image)
    left = dict(totals)
    part_of: dict[int, int] = {}

    def put(image: int, part: int) -> None:
        part_of[image] = part
        sizes[part] -= 1
        for category in set(labels[image]):
            wanted[part][category] -= 1
            left[category] -= 1

    while any(left.values()):
        # The name breaks ties, because the order of a set of strings differs between processes.
        rarest = min((c for c in left if left[c]), key=lambda c: (left[c], str(c)))
        for image in images_with[rarest]:
            if image not in part_of:
                open_parts = [part for part in (0, 1) if sizes[part]]
                put(
                    image,
                    max(
                        open_parts,
                        key=lambda part: (wanted[part][rarest], sizes[part], generator.random()),
                    ),
                )
    # Images without objects fill both parts up, in the shuffled order.
    empty = [image for image in order if image not in part_of]
    for image, part in zip(empty, [1] * sizes[1] + [0] * sizes[0], strict=True):
        put(image, part)
    return {image for image, part in part_of.items() if part == 1}
