"""The noise of a fitness: intervals over resampled images, and which candidates are tied."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from crnas_d2.common.digests import text_digest
from crnas_d2.common.files import whole_file
from crnas_d2.space import Genotype

from .bootstrap import DetectionMatches, ImageHits, ImageResults, resampled_images

_MOST_KEPT = 2**22  # bytes of image results in one file, before compression
_QUANTILE = 1.96  # of the normal distribution, for 95 %


def score_interval(score: float, resampled: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a score (percentile bootstrap).

    The scores of samples of the images, ``(samples,)``, without NaN ones, are shifted to the score
    itself, because repeated images alone change an average precision.
    """
    finite = resampled[np.isfinite(resampled)]
    low, high = np.percentile(finite - finite.mean(), [2.5, 97.5]) if len(finite) else (np.nan,) * 2
    return score + float(low), score + float(high)


def difference_interval(
    score: float, resampled: np.ndarray, other: float, other_resampled: np.ndarray
) -> tuple[float, float]:
    """Return the 95 % interval of ``score - other``, both on the same samples of the images."""
    return score_interval(score - other, resampled - other_resampled)


def images_to_tell(difference: float, spread: float, num_images: int) -> int:
    """Return from how many images on the 95 % interval of a difference of scores leaves out 0.

    Its standard deviation over samples of ``num_images`` images, ``spread``, falls with the root of
    the number of images.
    """
    return math.ceil(num_images * (_QUANTILE * spread / difference) ** 2)


def student_quantile(freedom: int, confidence: float = 0.95) -> float:
    """Return the distance from 0 within which Student's t lies with a probability.

    The distribution of at least 1 degree of freedom in closed form is that of Abramowitz and
    Stegun, 26.7.3 and 26.7.4.
    """
    is_odd = freedom % 2

    def probability(angle: float) -> float:
        """Return that of a distance of at most ``sqrt(freedom) * tan(angle)``."""
        cosine, sine = math.cos(angle), math.sin(angle)
        term, total = cosine if is_odd else 1.0, 0.0
        for power in range(is_odd, freedom - 1, 2):
            total += term
            term *= (power + 1) / (power + 2) * cosine**2
        return 2 / math.pi * (angle + sine * total) if is_odd else sine * total

    low, high = 0.0, math.pi / 2
    for _ in range(60):  # bisection to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


@dataclass(frozen=True)
class NoiseFiles:
    """What the candidates of a search score on resampled images: a file each in ``OUTPUT_DIR``.

    A candidate that was scored in another folder than ``output_dir`` is read there, if this machine
    has that folder; else it has no interval.
    """

    output_dir: str | Path
    elsewhere: Sequence[str | Path] = ()  # the OUTPUT_DIR of other workers

    def write(
        self, genotype: Genotype, fitness: float, results: ImageResults, *, keeps_all: bool = False
    ) -> None:
        """Keep the resampled scores of a candidate and, unless too large, its image results.

        These are about 20 MB before compression for COCO's 5,000 images.
        """
        number, content = results.num_images, asdict(results)
        computed = results.scores(np.ones((1, number), int))[0]
        if not math.isclose(computed, fitness, abs_tol=1e-6):
            return  # not what the fitness was computed from
        if not keeps_all and sum(array.nbytes for array in content.values()) > _MOST_KEPT:
            content = {}
        content |= {"fitness": fitness, "num_images": number}
        content["resampled"] = results.scores(resampled_images(number))
        file = self._file(genotype, self.output_dir)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as stream:
            np.savez_compressed(stream, **content)

    def read(self, genotype: Genotype, fitness: float) -> dict[str, np.ndarray] | None:
        """Return the arrays of a candidate; ``None`` if they are missing or of another search.

        They are ``num_images``, ``resampled`` and, unless they were too large, the attributes of
        :class:`DetectionMatches` or :class:`ImageHits`.
        """
        for folder in (self.output_dir, *self.elsewhere):
            try:
                with np.load(self._file(genotype, folder), allow_pickle=False) as content:
                    arrays = dict(content)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                continue
            if arrays.pop("fitness", None) == fitness:
                return arrays
        return None

    def read_results(self, genotype: Genotype, fitness: float) -> ImageResults | None:
        """Return the image results of a candidate; ``None`` as :meth:`read`, or if not kept."""
        arrays = self.read(genotype, fitness) or {}
        for kind in (DetectionMatches, ImageHits):
            names = [field.name for field in fields(kind)]
            if set(names) <= set(arrays):
                return kind(*(arrays[name] for name in names))
        return None

    def _file(self, genotype: Genotype, folder: str | Path) -> Path:
        return Path(folder, "noise", f"{text_digest(str(genotype))}.npz")


@dataclass(frozen=True)
class FitnessNoise:
    """The noise of all candidates of a search that have a file."""

    best: Genotype  # with the highest fitness; it may have no file
    intervals: Mapping[Genotype, tuple[float, float]]  # of the fitness, 95 %
    # Less that of the best, on the same images; empty if that has no file.
    behind: Mapping[Genotype, tuple[float, float]]
    num_images: int  # of archval
    # Median standard deviation of the differences from the best, over samples of archval; NaN for
    # fewer than two candidates.
    spread: float

    @classmethod
    def read(
        cls,
        output_dir: str | Path,
        fitness: Mapping[Genotype, float],
        elsewhere: Sequence[str | Path] = (),
    ) -> "FitnessNoise | None":
        """Read the files of complete candidates, the best first; ``None`` if none has a file."""
        files = NoiseFiles(output_dir, elsewhere)
        read = {g: arrays for g, score in fitness.items() if (arrays := files.read(g, score))}
        if not read:
            return None
        best, first = next(iter(fitness)), next(iter(read.values()))
        num_images, reference = int(first["num_images"]), first["resampled"]
        resampled = {
            genotype: arrays["resampled"]
            for genotype, arrays in read.items()
            # Otherwise of other samples, e.g. by an earlier version.
            if arrays["num_images"] == num_images and arrays["resampled"].shape == reference.shape
        }
        behind = {
            genotype: difference_interval(fitness[genotype], scores, fitness[best], reference)
            for genotype, scores in resampled.items()
            if best in read and genotype != best
        }
        intervals = {g: score_interval(fitness[g], scores) for g, scores in resampled.items()}
        spreads = [np.nanstd(resampled[genotype] - reference) for genotype in behind]
        spread = float(np.median(spreads)) if spreads else math.nan
        return cls(best, intervals, behind, num_images, spread)

    def is_tied(self, genotype: Genotype) -> bool:
        """Whether a candidate cannot be told apart from the best one, or is the best one."""
        low, high = self.behind.get(genotype, (math.nan, math.nan))
        return genotype == self.best or low <= 0 <= high

    @property
    def tied(self) -> list[Genotype]:
        """The candidates that cannot be told apart from the best one, without itself."""
        return [genotype for genotype in self.behind if self.is_tied(genotype)]
