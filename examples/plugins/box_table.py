"""A layout: boxes.csv with a line per object, image,class,x,y,width,height in pixels."""

import csv

from crnas_d2.data import LAYOUT_REGISTRY, Layout
from crnas_d2.data.layouts.collector import Collector, read_sizes


@LAYOUT_REGISTRY.register("boxes.csv")
class BoxTable(Layout):
    looked_for = "boxes.csv"

    @classmethod
    def find(cls, folder):
        return "boxes.csv" if "boxes.csv" in folder else ""

    def read(self):
        collector, images = Collector(self.folder), {}
        sizes = read_sizes(self.folder.root, self.folder.images)
        with open(self.folder.root / "boxes.csv", newline="") as stream:
            for line, row in enumerate(csv.DictReader(stream), start=2):
                with collector.problem_of(f"boxes.csv, line {line}"):
                    name = row["image"]
                    if name not in images:
                        file = collector.find_image("train", name, [""])
                        size = sizes.get(file, (0, 0))
                        images[name] = collector.add_image("train", file, size, "boxes.csv")
                    box = [float(row[key]) for key in ("x", "y", "width", "height")]
                    collector.add_object(images[name], row["class"], {"bbox": box})
        collector.note_unused()
        return collector.parts()
