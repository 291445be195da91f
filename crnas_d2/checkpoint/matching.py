"""Match the tensors of a weight file to those of a model, including a supernet's replicas."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from crnas_d2.common.formats import format_few

from .decoded_weights import decode_state_dict
from .inheritance import Inheritance, fit_kernel, inherit_blocks
from .subnet_weights import fixed_names
from .weight_file import to_detectron2_names

# Of the body of a network: under a neck, in a detector or classifier without one, in a backbone
# with a neck but no detector. A bare body has no prefix.
_BODY_PREFIXES = ("backbone.bottom_up.", "backbone.", "bottom_up.")

# Counters that only a BN without momentum reads, constants of old Detectron2 files, and the state
# that only a channel search has.
_UNIMPORTANT = ("num_batches_tracked", "pixel_mean", "pixel_std", ".alpha", ".dilation_set")
_CELL_ANCHORS = "anchor_generator.cell_anchors"

Shape = tuple[int, ...]


@dataclass
class MatchedWeights:
    """What a model takes from a file, and what does not match."""

    body: str  # the prefix of the names in the model's body
    tensors: dict[str, Tensor] = field(default_factory=dict)  # to take, by name in the model
    replicas: list[str] = field(default_factory=list)  # of them, those of a fixed network
    initialised: list[str] = field(default_factory=list)  # in the model, with nothing in the file
    # (Name in the file, Detectron2's name) without a place in the model.
    unused: list[tuple[str, str]] = field(default_factory=list)
    # (Name in the model, shape in the file, shape in the model).
    wrong_shape: list[tuple[str, Shape, Shape]] = field(default_factory=list)
    # (Names in the file, names in the model) that could be paired in several ways; none is taken.
    ambiguous: list[tuple[list[str], list[str]]] = field(default_factory=list)
    inherited: Inheritance | None = None  # what the body's blocks take from a base network

    def in_body(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name.startswith(self.body) and _important(name)]

    @property
    def complete(self) -> bool:
        """Whether the whole body gets its weights from the file, or starts as a base network."""
        missing = self.inherited.from_scratch if self.inherited else self.in_body(self.initialised)
        return not (missing or self.wrong_shape or self.ambiguous)

    @property
    def untrained(self) -> list[str]:
        """Blocks of the body and tensors of the rest of the model that start from scratch."""
        open_names = [*self.initialised, *(name for name, _, _ in self.wrong_shape)]
        body = self.in_body(open_names)
        rest = [name for name in open_names if _important(name) and name not in body]
        return [*(self.inherited.from_scratch if self.inherited else body), *rest]

    def describe(self) -> str:
        """Describe the match in a few lines, grouped by parts of the network."""
        body = self.in_body(self.tensors)
        others = len(list(filter(_important, self.tensors))) - len(body)
        kept = [(name, name) for name in self.initialised if _important(name)]
        unused = [(file, name) for file, name in self.unused if _important(name)]
        shapes = [(f"{name} {file} {model}", name) for name, file, model in self.wrong_shape]
        ambiguous = [f"{format_few(files)}; {format_few(names)}" for files, names in self.ambiguous]
        sections = {
            "Keep their initialisation:": self._grouped(kept),
            "In the file, without a place in the model:": self._grouped(unused),
            "Not loaded, because they differ in shape (name, file, model):": self._grouped(shapes),
            "Not loaded, because they are ambiguous (file, model):": ambiguous,
        }
        lines = [
            f"{len(body)} tensors of the body loaded (of them "
            f"{len(self.in_body(self.replicas))} replicas), {others} of the rest of the model.",
            *(self.inherited.describe() if self.inherited else ()),
        ]
        for title, entries in sections.items():
            lines += [title, *(f"  {entry}" for entry in entries)] if entries else []
        return "\n".join(lines)

    def _grouped(self, pairs: Iterable[tuple[str, str]]) -> list[str]:
        """Return a line per group of ``(name to show, name to group by)``."""
        groups = defaultdict(list)
        for shown, name in pairs:
            prefix = self.body if name.startswith(self.body) else ""
            groups[prefix + name.removeprefix(prefix).split(".")[0]].append(shown)
        return [f"{key}.*: {len(n)} tensors ({format_few(n)})" for key, n in groups.items()]


def match_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    author: str | None = None,
    by_suffix: bool = False,
    inherit: bool = False,
) -> MatchedWeights:
    """Pair the tensors of a file with those of a model, without changing either.

    A tensor of the model takes the tensor of the same name in the file or, if there is none, that
    of the fixed network that it stands for. So a supernet's own checkpoint is loaded as it is, and
    weights of a single network fill every replica. The body is found by its prefix in both, so that
    a classifier, a detector with a neck and a bare backbone can exchange it. Detectron2's matching
    by suffix is not used for the body, because ``0.conv1.weight`` is the suffix of many blocks. A
    network with decoded channels takes its own weights as they are, and those of its base network
    or supernet through :func:`decode_state_dict`.

    Args:
        author: ``__author__`` of the file, see :func:`to_detectron2_names`.
        by_suffix: whether, outside of the body, a name of the file may be the end of one in the
            model (``matching_heuristics`` of Detectron2's converted files).
        inherit: start as the network of the file, see :mod:`crnas_d2.checkpoint.inheritance`.
            Then blocks of the model that become identities are changed in place.
    """
    state, fixed = model.state_dict(), fixed_names(model)
    # Step 1: Detectron2's names, and the prefix of the body on both sides.
    body = _body_prefix(state)
    targets = {*state, *fixed.values()}
    named = to_detectron2_names(weights, author)
    file_body = _body_prefix(name for _, name, _ in named)
    # Decoded convolutions, whose weights have other names in other networks.
    decoded = tuple(
        f"{name}." for name, part in model.named_modules() if hasattr(part, "dilation_choice")
    )
    # Step 2: move the body to the model's prefix. Each place, a name in the model or in its fixed
    # network, lists (name in the file, tensor).
    places: dict[str, list[tuple[str, Tensor]]] = defaultdict(list)
    for file_name, name, tensor in named:
        moved = body + name.removeprefix(file_body)
        is_known = moved in targets or moved.startswith(decoded)
        is_body = name.startswith(file_body) and (file_body or is_known)
        places[moved if is_body else name].append((file_name, tensor))
    # Weights of another network are decoded for decoded convolutions.
    single = {place: sources[0] for place, sources in places.items() if len(sources) == 1}
    known = decode_state_dict(model, {place: tensor for place, (_, tensor) in single.items()})
    places = {place: sources for place, sources in places.items() if place not in single}
    for place, tensor in known.items():
        places[place] = [(single[place][0] if place in single else place, tensor)]

    # Step 3: each tensor of the model takes its own place, else that of the fixed network; outside
    # the body also the longest unused suffix of its name.
    wanted = {name: name if name in places else fixed[name] for name in state}
    if by_suffix:
        unused = sorted(set(places) - set(wanted.values()), key=len)
        for name, place in wanted.items():
            if place not in places and not name.startswith(body):
                ends = [place for place in unused if name.endswith(f".{place}")]
                wanted[name] = ends[-1] if ends else place
    # Step 4: take each place that has one tensor in the file and one meaning in the model.
    matched, cropped = MatchedWeights(body), []
    takers = defaultdict(list)
    for name, place in wanted.items():
        takers[place].append(name)
        if place not in places:
            matched.initialised.append(name)
    for place, sources in places.items():
        names = takers.get(place, [])
        if not names:
            matched.unused += [(file_name, place) for file_name, _ in sources]
            continue
        if len(sources) > 1 or len({fixed[name] for name in names}) > 1:
            matched.ambiguous.append(([file_name for file_name, _ in sources], names))
            continue
        [(_, tensor)] = sources
        for name in names:
            shape = state[name].shape
            fitting = fit_kernel(tensor, shape) if inherit and tensor.shape != shape else tensor
            if fitting is None or fitting.shape != shape:
                matched.wrong_shape.append((name, tuple(tensor.shape), tuple(shape)))
                continue
            matched.tensors[name] = fitting
            if fitting.numel() < tensor.numel():
                cropped.append(name)
            if place != name:
                matched.replicas.append(name)
    if inherit:
        matched.inherited = inherit_blocks(model, matched.tensors, _UNIMPORTANT, cropped)
        matched.replicas = [name for name in matched.replicas if name in matched.tensors]
    return matched


def _body_prefix(names: Iterable[str]) -> str:
    """Return the prefix of the body among all names of a network."""
    names = list(names)
    return next((p for p in _BODY_PREFIXES if any(name.startswith(p) for name in names)), "")


def _important(name: str) -> bool:
    return not name.endswith(_UNIMPORTANT) and _CELL_ANCHORS not in name
