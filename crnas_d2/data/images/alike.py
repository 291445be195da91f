"""Images that look alike: recompressed, resized, brighter or blurred copies of each other."""

from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

# Of 256 bits. Of 720 photographs and micrographs (COCO, raccoons, blood cells), no two others
# differ in fewer than 79; a brighter, smaller, noisy or recompressed copy differs in 1 to 24.
_MOST = 32
_SHARE = 0.25  # of the bits that either has: flat images have few
_BLOCK = 1024

Look = bytes  # a perceptual hash, 256 bits; empty for an image without any detail


def look_of(image: Image.Image) -> Look:
    """Return the difference hash of a decoded image, of 16 x 16 bits."""
    from imagehash import dhash  # takes a while to import

    bits = dhash(image, hash_size=16).hash
    return np.packbits(bits).tobytes() if bits.any() else b""


def find_alike(looks: Mapping[str, Look]) -> Iterator[tuple[str, str]]:
    """Yield each pair of images that look alike, by their names; the first comes first."""
    names = [name for name, look in looks.items() if look]
    if not names:
        return
    packed = np.frombuffer(b"".join(looks[name] for name in names), np.uint8)
    bits = np.unpackbits(packed.reshape(len(names), -1), axis=1).astype(np.float32)
    counts = bits.sum(axis=1)
    for start in range(0, len(names), _BLOCK):
        common = bits[start : start + _BLOCK] @ bits[start:].T
        either = counts[start : start + _BLOCK, None] + counts[None, start:] - common
        differing = either - common
        alike = (differing <= _MOST) & (differing <= _SHARE * either)
        for row, column in np.argwhere(np.triu(alike, 1)):
            yield names[start + row], names[start + column]
