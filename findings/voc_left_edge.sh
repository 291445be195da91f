#!/usr/bin/env bash
# PASCAL VOC counts pixels from 1: a box with xmin 1 and xmax 20 covers the first 20 columns, and
# Detectron2's loader and the original development kit read it as [0, 20]. Converters of data sets
# take xmin as it is, which loses the left column and the upper row of every object, and leave xmax.
#
# globox 2.9.0 writes the box 1, 11, 20, 40 as COCO's [1.0, 11.0, 19.0, 29.0] (right: [0, 10, 20, 30]).
# labelformat 0.1.17 writes it as [1.0, 11.0, 19.0, 29.0], too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q globox==2.9.0 labelformat==0.1.17 pillow

cd "$folder"
mkdir voc voc/Annotations voc/JPEGImages
"$folder/venv/bin/python" - <<'PYTHON'
from PIL import Image

Image.new("RGB", (80, 60)).save("voc/JPEGImages/a.jpg")
with open("voc/Annotations/a.xml", "w") as file:
    file.write(
        "<annotation><folder>JPEGImages</folder><filename>a.jpg</filename><size><width>80</width>"
        "<height>60</height><depth>3</depth></size><segmented>0</segmented><object><name>cat</name>"
        "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        "<xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
PYTHON
cp voc/JPEGImages/a.jpg voc/Annotations/

"$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

from globox import AnnotationSet

annotations = AnnotationSet.from_pascal_voc(Path("voc/Annotations"))
[box] = annotations["a.jpg"].boxes
found = [box.xmin, box.ymin, box.width, box.height]
print("globox:", found)
assert found == [1.0, 11.0, 19.0, 29.0]
PYTHON

printf 'cat\n' > names
"$folder/venv/bin/python" - <<'PYTHON'
import json
import subprocess
import sys

subprocess.run(
    [
        *(sys.executable.replace("python", "labelformat"), "convert", "--task", "object-detection"),
        *("--input-format", "pascalvoc", "--input-folder", "voc/Annotations"),
        *("--category-names", "cat", "--output-format", "coco", "--output-file", "coco.json"),
    ],
    check=True,
)
[annotation] = json.load(open("coco.json"))["annotations"]
print("labelformat:", annotation["bbox"])
assert annotation["bbox"] == [1.0, 11.0, 19.0, 29.0]
PYTHON
