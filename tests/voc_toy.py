"""A small folder in VOC layout."""

from pathlib import Path

from PIL import Image

SIZE = (60, 40)


def write_voc(folder: Path, images: dict[str, list], image_sets: dict[str, list[str]]) -> Path:
    """Writes images and annotations.

    Args:
        images: by image, its objects ``(class, difficult, xmin, ymin, xmax, ymax)``.
        image_sets: names of images, by image set.
    """
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, (name, objects) in enumerate(images.items()):
        # No two images of a folder, or of two folders, are the same.
        color = (number * 5 % 256, sum(map(ord, name)) % 256, sum(map(ord, str(folder))) % 256)
        Image.new("RGB", SIZE, color).save(folder / "JPEGImages" / f"{name}.jpg")
        described = "".join(
            f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox>"
            f"<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>"
            "</bndbox></object>"
            for label, difficult, *box in objects
        )
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
            f"{described}</annotation>"
        )
    for name, members in image_sets.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(members) + "\n")
    return folder
