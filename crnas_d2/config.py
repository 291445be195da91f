"""Defaults of every config key that this project adds to Detectron2's."""

from detectron2.config import CfgNode as CN

__all__ = ["add_crnas_config"]


def add_crnas_config(cfg: CN) -> None:
    """Adds our keys to a Detectron2 config, in place."""
    # ---------------------------------------------------------------- network
    cfg.MODEL.SUPERNET = CN()
    # Family of backbones: "resnet" (ResNet and, with MODEL.RESNETS.NUM_GROUPS > 1, ResNeXt).
    cfg.MODEL.SUPERNET.FAMILY = "resnet"
    # What is searched: "none" (a fixed network) or "stage" (number of blocks of each stage,
    # CR-NAS section 3.2.1).
    cfg.MODEL.SUPERNET.SPACE = "none"
    # Numbers of blocks that each stage may have, one list per stage. Empty: the paper's sets.
    cfg.MODEL.SUPERNET.STAGE_OPTIONS = []
    # Which weights the options of a choice share: "none" (every number of blocks owns its
    # blocks, as in CR-NAS) or "prefix" (k blocks are the first k of the deepest branch).
    cfg.MODEL.SUPERNET.SHARING = "none"
    # Which subnet runs in a training step: "uniform" (single path, each choice drawn uniformly)
    # or "fixed" (only the network of MODEL.GENOTYPE is built).
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "uniform"

    # The network to build where PATH_SAMPLER is "fixed" or SPACE is "none"; a genotype.yaml sets
    # it. Empty: the allocation published for MODEL.RESNETS.DEPTH.
    cfg.MODEL.GENOTYPE = CN()
    # Number of blocks of each stage, from the highest resolution to the lowest.
    cfg.MODEL.GENOTYPE.DEPTHS = []

    # MODEL.META_ARCHITECTURE ImageClassifier, for pretraining.
    cfg.MODEL.CLASSIFIER = CN()
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = 1000
    # Share of the target that is spread evenly over all classes (Szegedy et al. 2016); DetNAS
    # pretrains with 0.1.
    cfg.MODEL.CLASSIFIER.LABEL_SMOOTHING = 0.0
    # Whether the residual blocks of a ResNet begin as the identity: scale 0 in their last BN (Goyal
    # et al. 2017, section 5.1). Branches of all depths then begin with features of one size.
    cfg.MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL = False

    # ------------------------------------------------------------------- data
    # Datasets that score the candidates of a search; archtrain is DATASETS.TRAIN.
    cfg.DATASETS.ARCHVAL = ()
    # Your own datasets in COCO format: a list of [name, json file, image folder]. They are
    # registered under these names before anything else happens.
    cfg.DATASETS.COCO_FORMAT = []
    # Your own classification datasets, one folder per class as in ImageNet: a list of
    # [name, folder], registered in the same way.
    cfg.DATASETS.IMAGE_FOLDERS = []
    # Images of a classifier: the usual augmentation of ImageNet. INPUT.RANDOM_FLIP (horizontal or
    # none) and INPUT.FORMAT hold as for detection.
    cfg.INPUT.CLASSIFICATION = CN()
    # Side of the square that the network sees, pixels.
    cfg.INPUT.CLASSIFICATION.CROP_SIZE = 224
    # [least, most] share of the image's area in a training crop.
    cfg.INPUT.CLASSIFICATION.CROP_AREA = [0.08, 1.0]
    # Shorter side of a test image before its centre is cut out, pixels.
    cfg.INPUT.CLASSIFICATION.RESIZE_TEST = 256

    # ----------------------------------------------------------------- search
    cfg.SEARCH = CN()
    # "exhaustive": every genotype within the budget (CR-NAS section 3.3.1, equation 1).
    cfg.SEARCH.ALGORITHM = "exhaustive"
    # Fitness: "task/metric" of the evaluator's results, e.g. bbox/AP, bbox/AP50, segm/AP.
    # Higher is better.
    cfg.SEARCH.METRIC = "bbox/AP"
    cfg.SEARCH.BUDGET = CN()
    # [least, most] total number of blocks; empty: no limit.
    cfg.SEARCH.BUDGET.BLOCKS = []
    # Images per forward pass, in the evaluation and in the BN calibration.
    cfg.SEARCH.IMS_PER_BATCH = 8
    cfg.SEARCH.BN_CALIBRATION = CN()
    # Images of archtrain from which each candidate gets its own BN statistics; 0: keep those of
    # the supernet.
    cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES = 200
    # The decoded images of archval, and those of the calibration, are each kept in memory if they
    # take no more than this, in GiB per worker; a larger set is decoded again for every candidate.
    cfg.SEARCH.IMAGE_CACHE = 8.0
    # (height, width) of the image for which costs are stated, pixels; the default is that of
    # CR-NAS table 1.
    cfg.SEARCH.COST_INPUT_SIZE = [800, 1088]
    # Where the study lives, an SQLAlchemy URL (e.g. postgresql://host/db, which workers on
    # several machines can share). Empty: SQLite in OUTPUT_DIR/search.db.
    cfg.SEARCH.STORAGE = ""
    # Name of the study in its storage.
    cfg.SEARCH.STUDY_NAME = "search"
