"""What is said of the user's own classes."""

import pytest

from crnas_d2.verbs.prepare.own_dataset import likely_typos


def coco(**objects):
    """Annotations with so many objects of each category."""
    ids = {name: number for number, name in enumerate(objects, start=1)}
    return {
        "categories": [{"id": id_, "name": name} for name, id_ in ids.items()],
        "annotations": [
            {"category_id": ids[name]} for name, count in objects.items() for _ in range(count)
        ],
    }


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([coco(RBC=300, RBCC=1, WBC=40)], ["RBCC (objects: 1; RBC: 300)"]),
        ([coco(Cell=90, cell=1), coco(Cell=90, cell=0)], ["cell (objects: 1; Cell: 180)"]),
        ([coco(cat=300, dog=2)], []),  # rare, but no typo
        ([coco(left_hand=60, right_hand=50)], []),  # alike, but both frequent
    ],
)
def test_a_rare_class_with_the_name_of_a_frequent_one_is_named(parts, found):
    assert likely_typos(parts) == found
