"""What a config's network costs per image, counted on the meta device: no image, no GPU."""

from dataclasses import dataclass
from functools import cached_property
from random import Random

from torch import nn

from crnas_d2.config import NetworkSpec
from crnas_d2.cost import MACs, detector_cost, inference_memory, meta_model, training_memory
from crnas_d2.engine import checkpoint_size, without_sync
from crnas_d2.modeling import SinglePathSupernet, find_supernet
from crnas_d2.search import ExhaustiveSearcher, Searcher
from crnas_d2.space import AdditiveCost

from .estimate import Speed
from .made_images import usual_size, widest_size

_PROPOSALS, _MASKS = 2000, 100  # that the papers count, see crnas_d2.cost.detector_cost
_SAMPLED = 2_000  # genotypes, of which the feasible ones have the mean cost of a candidate


@dataclass(frozen=True)
class MacsPerImage:
    """Multiply-adds of a forward pass for one image, of a supernet those of the mean path.

    Attributes:
        counted: as the papers and ``analyze`` count them.
        training, inference: with as many regions as there are then.
    """

    counted: float
    training: float
    inference: float


class NetworkOnPaper:
    """A network, or a supernet with its most expensive path, on the meta device.

    Args:
        searcher: for the mean cost of its candidates; default: that of uniformly sampled paths.

    Raises:
        ValueError: the network has parts that are not known.
    """

    def __init__(self, cfg, searcher: Searcher | None = None):
        self.cfg = without_sync(cfg)  # synchronized BN computes the same, but not on this device
        self.searcher = searcher
        self.model: nn.Module = meta_model(self.cfg)
        self.supernet = find_supernet(self.model)
        self._costs: dict[tuple[int, int], dict[str, float]] = {}
        self._peaks: dict[int, int] = {}  # by images per process
        if isinstance(self.supernet, SinglePathSupernet):
            table = self._table(usual_size(cfg, in_training=True))
            self.supernet.set_path(table.space.genotype(table.extreme(max)))

    @cached_property
    def macs(self) -> MacsPerImage:
        heads, rpn, cfg = self.cfg.MODEL.ROI_HEADS, self.cfg.MODEL.RPN, self.cfg
        size = usual_size(cfg, in_training=False)
        return MacsPerImage(
            self._macs(size, _PROPOSALS, _MASKS),
            self._macs(
                usual_size(cfg, in_training=True), heads.BATCH_SIZE_PER_IMAGE, self._positives
            ),
            self._macs(size, rpn.POST_NMS_TOPK_TEST, cfg.TEST.DETECTIONS_PER_IMAGE),
        )

    def training_speed(self, images: int, num_processes: int = 1) -> Speed:
        """Return sizes of a training, without times.

        Args:
            images: per process.
            num_processes: with several, DistributedDataParallel copies the gradients.
        """
        model, cfg = self.model, self.cfg
        if images not in self._peaks:
            self._peaks[images] = training_memory(
                *(model, widest_size(cfg, in_training=True), images),
                *(cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE, self._positives),
            )
        copies = sum(p.nbytes for p in model.parameters()) if num_processes > 1 else 0
        return self._speed(checkpoint_size(cfg, model) + copies, self._peaks[images], images)

    def search_speed(self) -> Speed:
        """Return sizes of a worker of a search, without times and the images that it keeps."""
        cfg, images = self.cfg, self.cfg.SEARCH.IMS_PER_BATCH
        peak = inference_memory(
            *(self.model, widest_size(cfg, in_training=False), images),
            *(cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.TEST.DETECTIONS_PER_IMAGE),
        )
        return self._speed(self._weights, peak, images)

    @property
    def _weights(self) -> int:
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

    @property
    def _positives(self) -> int:
        """Regions of an image on which masks are trained, at most."""
        heads = self.cfg.MODEL.ROI_HEADS
        return int(heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION)

    def _speed(self, base: int, peak: int, images: int) -> Speed:
        checkpoint = checkpoint_size(self.cfg, self.model)
        return Speed(None, None, base, peak // images, checkpoint, self._weights)

    def _macs(self, size: tuple[int, int], proposals: int, masks: int) -> float:
        if size not in self._costs:
            self._costs[size] = self._count(size)
        regions = {"box head": proposals, "mask head": masks}  # in which heads are linear
        return sum(macs * regions.get(part, 1) for part, macs in self._costs[size].items())

    def _count(self, size: tuple[int, int]) -> dict[str, float]:
        """Count the parts of a forward pass with one region; of a supernet, the mean path."""
        self.model.eval()
        macs = {part: cost.macs for part, cost in detector_cost(self.model, size, 1, 1).items()}
        if isinstance(self.supernet, SinglePathSupernet):
            macs["body"] = _mean(self._table(size), self.searcher)
        return macs

    def _table(self, size: tuple[int, int]) -> AdditiveCost:
        return MACs().table(NetworkSpec.from_config(self.cfg), size)


def _mean(table: AdditiveCost, searcher: Searcher | None) -> float:
    """Return the mean cost of the candidates of a search, or of all paths alike."""
    found = []
    if isinstance(searcher, ExhaustiveSearcher):
        found = searcher.genotypes
    elif searcher is not None and searcher.budgets:
        random = Random(0)
        sampled = (table.space.sample(random) for _ in range(_SAMPLED))
        found = [genotype for genotype in sampled if searcher.is_feasible(genotype)]
    return sum(map(table, found)) / len(found) if found else table.mean
