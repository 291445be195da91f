"""Body and neck of a detector as files of other runtimes, each compared with the network itself."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec as find_module
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn

from crnas_d2.common.errors import JobError
from crnas_d2.common.third_party import quiet

# Of the largest value of a map, if that is above 1: float32 itself rounds to about 1e-6 of it.
_TOLERANCE = 1e-4
_NEEDED = ("onnx", "onnxruntime", "onnxscript")

Runner = Callable[[Tensor], Sequence[Tensor]]


class BodyAndNeck(nn.Module):
    """The backbone of a detector, as Detectron2 calls body and neck, with its maps in order.

    Args:
        backbone: on the CPU.
        channels: of the images.
        size: (height, width) of the images with which it is exported and timed, in pixels; padded
            as the detector pads them.
    """

    def __init__(self, backbone: Backbone, channels: int, size: Sequence[int]):
        super().__init__()
        self.backbone = backbone
        self.names = list(backbone.output_shape())  # of the maps
        self.step = max(1, backbone.size_divisibility)  # of both sides of an image
        coarsest = max(shape.stride for shape in backbone.output_shape().values())
        # The smallest side of a graph for all sizes; the coarsest map then has two pixels.
        self.least = (coarsest // self.step + 1) * self.step
        height, width = (-(-side // self.step) * self.step for side in size)
        self.example = (1, channels, height, width)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of ``names``, (N, channels, H / stride, W / stride) each.

        Args:
            images: (N, C, H, W), normalized, in ``INPUT.FORMAT``.
        """
        features = self.backbone(images)
        return tuple(features[name] for name in self.names)

    @property
    def takes_all_sizes(self) -> bool:
        """Whether its graph takes images of all sizes; a small example fixes its own."""
        return min(self.example[2:]) >= self.least


@dataclass(frozen=True)
class Format:
    """A format of body and neck: how to write a file, and to load it to run on images."""

    file: str  # its name in the folder
    write: Callable[[BodyAndNeck, Path], None]
    load: Callable[[Path], Runner]

    def export(self, network: BodyAndNeck, folder: Path) -> float:
        """Write the file; return its largest absolute difference from the network.

        Raises JobError if it cannot be written, or computes something else.
        """
        path = folder / self.file
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporters, about themselves
            try:
                self.write(network, path)
            except Exception as error:  # exporters raise many types
                why = f"cannot be made of this network ({_reason(error)})"
                raise JobError(f"{self.file} {why}. Leave this format out.") from error
            return self._compare(network, self.load(path))

    def _compare(self, network: BodyAndNeck, run: Runner) -> float:
        _, channels, *example = network.example
        sizes = [(1, *example)]
        if network.takes_all_sizes:
            sizes.append((2, network.least, network.least + network.step))
        largest, random = 0.0, torch.Generator().manual_seed(0)
        for number, height, width in sizes:
            images = torch.randn(number, channels, height, width, generator=random)
            for name, own, other in zip(network.names, network(images), run(images), strict=True):
                difference = float((own - other).abs().max())
                largest = max(largest, difference)
                most = _TOLERANCE * max(1.0, float(own.abs().max()))
                if not difference <= most:  # also if it is not a number
                    raise JobError(
                        f"{self.file} differs from the network by {difference:.2g} in {name} at "
                        f"{height}x{width}; expected at most {most:.2g}. Leave this format out."
                    )
        return largest


def check_formats(names: Sequence[str]) -> None:
    """Raise ValueError for a format whose libraries are missing, before any work."""
    missing = [name for name in _NEEDED if find_module(name) is None] if "onnx" in names else []
    if missing:
        raise ValueError(
            f"--formats onnx needs {', '.join(missing)}, which is not installed: "
            "pip install 'crnas-d2[onnx]'."
        )


def _program(network: BodyAndNeck) -> torch.export.ExportedProgram:
    _, channels, height, width = network.example
    if not network.takes_all_sizes:
        return torch.export.export(network, (torch.zeros(network.example),))
    least = network.least // network.step
    sides = [torch.export.Dim(name, min=least) for name in ("height", "width")]
    if network.step > 1:
        sides = [network.step * side for side in sides]
    shape = {0: torch.export.Dim("batch"), 2: sides[0], 3: sides[1]}
    # Not with the values 0 and 1, which an export takes for constants.
    images = torch.zeros(2, channels, height, width)
    return torch.export.export(network, (images,), dynamic_shapes=(shape,))


def _write_onnx(network: BodyAndNeck, path: Path) -> None:
    with quiet("torch.onnx"):
        torch.onnx.export(
            _program(network),
            (),
            str(path),
            input_names=["images"],
            output_names=network.names,
            dynamo=True,
            verbose=False,
            external_data=False,
        )


def _load_onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as many as torch, for its times
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> list[Tensor]:
        maps = session.run(None, {"images": images.numpy()})
        return [torch.from_numpy(np.asarray(values)) for values in maps]

    return run


FORMATS = {
    "onnx": Format("backbone.onnx", _write_onnx, _load_onnx),
    "torch-export": Format(
        "backbone.pt2",
        lambda network, path: torch.export.save(_program(network), path),
        lambda path: torch.export.load(path).module(),
    ),
    "torchscript": Format(
        "backbone.ts",
        lambda network, path: torch.jit.trace(network, torch.zeros(network.example)).save(path),
        lambda path: torch.jit.load(str(path)),
    ),
}


def _reason(error: BaseException) -> str:
    """Return one line about the innermost error, which says most."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
