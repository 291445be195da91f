"""What differs between detectors and classifiers, by ``MODEL.META_ARCHITECTURE``."""

from dataclasses import dataclass

from detectron2.config import CfgNode


@dataclass(frozen=True)
class Architecture:
    """What this package has to know of an entry of Detectron2's ``META_ARCH_REGISTRY``.

    A plug-in calls :func:`register_architecture`. A meta-architecture without description can be
    trained, but its classes are not checked, and it cannot predict.

    Attributes:
        class_section: the section of ``MODEL`` with ``NUM_CLASSES``; ``None`` if unknown.
        parts: which of ``anchors``, ``proposals``, ``roi heads`` and ``segmentation`` it builds by
            the names in its config; with the last one, it needs semantic segmentations.
        classifies: takes images with one label each.
        detects: returns boxes with classes and scores.
    """

    name: str
    class_section: str | None = "ROI_HEADS"
    parts: frozenset[str] = frozenset()
    classifies: bool = False
    detects: bool = True


_ARCHITECTURES: dict[str, Architecture] = {}


def register_architecture(architecture: Architecture) -> Architecture:
    """Describe a meta-architecture; a later description of the same name replaces an earlier."""
    _ARCHITECTURES[architecture.name] = architecture
    return architecture


def find_architecture(cfg: CfgNode) -> Architecture:
    """Return the description of ``MODEL.META_ARCHITECTURE``."""
    name = cfg.MODEL.META_ARCHITECTURE
    return _ARCHITECTURES.get(name, Architecture(name, None, detects=False))


def detectors() -> list[str]:
    """Return the names of the architectures that detect objects."""
    return [name for name, architecture in _ARCHITECTURES.items() if architecture.detects]


def num_classes(cfg: CfgNode) -> int:
    """Return how many classes the model of a config knows."""
    return int(cfg.MODEL[find_architecture(cfg).class_section or "ROI_HEADS"].NUM_CLASSES)


_PROPOSALS = frozenset({"anchors", "proposals"})
for _architecture in (
    Architecture("GeneralizedRCNN", parts=_PROPOSALS | {"roi heads"}),
    Architecture("ProposalNetwork", None, parts=_PROPOSALS, detects=False),
    Architecture("PanopticFPN", parts=_PROPOSALS | {"roi heads", "segmentation"}),
    Architecture("SemanticSegmentor", None, parts=frozenset({"segmentation"}), detects=False),
    Architecture("RetinaNet", "RETINANET", parts=frozenset({"anchors"})),
    Architecture("ImageClassifier", "CLASSIFIER", classifies=True, detects=False),
):
    register_architecture(_architecture)
