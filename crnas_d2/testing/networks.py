"""Checks of what builds networks: families, kinds of spaces and costs."""

import copy
import itertools
import json
import math
from collections.abc import Collection
from random import Random
from typing import Any

import torch
from torch import nn

from crnas_d2.checkpoint import subnet_state_dict
from crnas_d2.config import NetworkSpec
from crnas_d2.cost import CountedCost, MACs, Parameters
from crnas_d2.cost.counted import covering_values
from crnas_d2.cost.counting import meta_body, meta_image
from crnas_d2.engine import PATH_SAMPLER_REGISTRY
from crnas_d2.layers import active_modules
from crnas_d2.modeling import build_backbone, find_supernet
from crnas_d2.modeling.body import build_stages
from crnas_d2.modeling.families import ResNetFamily
from crnas_d2.modeling.spaces import OperationKind, StageKind
from crnas_d2.space import Cost, Family, Genotype, SearchSpace, SpaceKind

from .demand import demand

_SIZE = (64, 64)  # of the images, pixels
_SAMPLES = 3  # genotypes


def check_family(family: Family, published: Collection[str] = ()) -> None:
    """Check a small family: its description, its blocks with every operation, and its costs.

    The family is not changed; ``published`` are the names of all tensors in a file that
    ``published_names`` knows.
    """
    name, stages = type(family).__name__, family.stages
    demand(copy.deepcopy(family) == family, f"Two {name} with equal settings must be equal.")
    for attribute in ("stage_options", "block_costs"):
        values = getattr(family, attribute)
        demand(
            len(values) in (0, len(stages)),
            f"{name}.{attribute} has {len(values)} entries; expected one for each of {stages}.",
        )
    names = [operation.name for operation in family.operations]
    demand(len(set(names)) == len(names), f"{name}.operations have equal names: {names}.")
    depths = family.baseline_depths()
    demand(
        len(depths) == len(stages) and min(depths) >= 1,
        f"{name}.baseline_depths() is {depths}; expected at least 1 for each of {stages}.",
    )
    for stage, numbers in zip(stages, family.stage_options, strict=False):
        family.check_depths("stage_options", stage, numbers)
    two = tuple(1 if stage in family.single_layers else 2 for stage in stages)
    plain = _shapes(family, Genotype(two))
    for index, operation in enumerate(family.operations):
        ops = [
            index if index in family.operations_of(stage) else 0
            for stage, depth in zip(stages, two, strict=True)
            for _ in range(depth)
        ]
        shapes = _shapes(family, Genotype(two, tuple(ops)))
        for place, shape in plain.items():
            demand(
                shapes[place] == shape,
                f"The shapes of a block must not depend on its operation: with '{operation.name}' "
                f"{place} has {shapes[place]}, with '{names[0]}' {shape}.",
            )
    _check_identities(family, Genotype(two))
    if published:
        found = list((family.published_names(published) or {}).values())
        double = sorted({value for value in found if found.count(value) > 1})
        demand(not double, f"published_names() must be invertible; {double} have two origins.")
        missing = {name for name, _ in build_backbone(family).named_parameters()} - set(found)
        demand(not missing, f"published_names() lacks parameters: {sorted(missing)[:5]}.")
    specs = []
    if family.stage_options:
        few = [numbers[:2] for numbers in family.stage_options]
        specs.append(NetworkSpec.build(family, kind=StageKind(few)))
    if len(family.operations) > 1:
        specs.append(NetworkSpec.build(family, kind=OperationKind(), genotype=Genotype(two)))
    for spec in specs:
        check_cost(MACs, spec)
        check_cost(Parameters, spec)


def _shapes(family: Family, genotype: Genotype) -> dict[str, tuple[Any, ...]]:
    """Return the shapes of what goes into each block and comes out, and of the outputs."""
    found: dict[str, tuple[Any, ...]] = {}
    with torch.device("meta"):
        stages = build_stages(family, genotype)
        body = family.make_body(family.make_stem(3), stages).eval()
    for stage, blocks in stages.items():
        for index, block in enumerate(blocks):

            def note(_: nn.Module, inputs: Any, out: Any, place: str = f"{stage}.{index}") -> None:
                found[place] = (tuple(inputs[0].shape), tuple(out.shape))

            block.register_forward_hook(note)
    outputs = body(torch.empty(1, 3, *_SIZE, device="meta"))
    for name, stated in body.output_shape().items():
        shape = found[name] = tuple(outputs[name].shape)
        demand(
            shape[1] == stated.channels and shape[2] == math.ceil(_SIZE[0] / stated.stride),
            f"The output {name} has the shape {shape} for images of {_SIZE}; output_shape() says "
            f"{stated.channels} channels at stride {stated.stride}.",
        )
    return found


def _check_identities(family: Family, genotype: Genotype) -> None:
    shapes = _shapes(family, genotype)
    for stage, blocks in build_stages(family, genotype).items():
        block = blocks[-1]
        place = f"{stage}.{len(blocks) - 1}"
        if place not in shapes or not family.make_identity(block):
            continue
        # What follows a ReLU is not negative.
        x = torch.rand(2, *shapes[place][0][1:], generator=torch.Generator().manual_seed(0))
        for mode in (True, False):
            with torch.no_grad():
                difference = float((block.train(mode)(x) - x).abs().max())
            demand(
                difference <= 1e-6,
                f"make_identity() must make the block {place} the identity or return False; "
                f"its output differs from its input by {difference:.2g}.",
            )


def check_kind(kind: SpaceKind, family: Family) -> None:
    """Check a kind of space on a family: each network builds, and the supernet runs it.

    With the weights of its path, a network must give exactly what the supernet gives on that path;
    nothing off the path may get a gradient.
    """
    name, random = type(kind).__name__, Random(0)
    demand(kind.fields, f"{name}.fields is empty; expected fields of a genotype.")
    unknown = [sampler for sampler in kind.path_samplers if sampler not in PATH_SAMPLER_REGISTRY]
    demand(not unknown, f"{name}.path_samplers names {unknown}, which nobody has registered.")
    for sharing in kind.sharings:
        try:
            kind.check(family, sharing)
        except ValueError:  # another sharing than the default may not suit the family
            if sharing == kind.sharings[0]:
                raise
            continue
        body = build_backbone(family, kind=kind, sharing=sharing)
        supernet = find_supernet(body)
        if supernet is None:
            raise AssertionError(f"{name}.build_supernet() must return a Supernet.")
        demand(
            supernet.has_paths or kind.is_searched_in_training,
            f"A supernet is searched in its training or has paths for a search; that of {name} "
            "does neither.",
        )
        if not supernet.has_paths:
            found = supernet.decode()
            if found is None:
                raise AssertionError(f"The supernet of {name} must decode a genotype.")
            supernet.space.validate(found)
        for _ in range(_SAMPLES):
            genotype = supernet.space.sample(random)
            supernet.space.validate(genotype)
            network = build_backbone(family, genotype=genotype)
            if supernet.has_paths:
                _check_path(body, network, genotype, f"{name} with sharing '{sharing}'")


def _check_path(body: nn.Module, network: nn.Module, genotype: Genotype, where: str) -> None:
    network.load_state_dict(subnet_state_dict(body, genotype))  # leaves the supernet on the path
    images = torch.randn(2, 3, *_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs, expected = body.eval()(images), network.eval()(images)
    for name, value in expected.items():
        demand(
            torch.equal(outputs[name], value),
            f"{where}: set_path({genotype}) must give the network of that genotype; {name} differs "
            f"by {float((outputs[name] - value).abs().max()):.2g}.",
        )
    body.train().zero_grad(set_to_none=True)
    sum(value.mean() for value in body(images).values()).backward()
    on_path = {p for part in active_modules(body) for p in part.parameters(recurse=False)}
    strays = [n for n, p in body.named_parameters() if p.grad is not None and p not in on_path]
    demand(not strays, f"{where}: parameters off the path of {genotype} get gradients: {strays}.")


def check_cost(cost: type[Cost] | Cost, spec: NetworkSpec | None = None) -> None:
    """Check a cost: its table has every option and, if it counts modules, equals a direct count.

    A class must need no arguments; ``spec`` is of a single-path supernet; default: a small ResNet's
    stages.
    """
    cost = cost() if isinstance(cost, type) else cost
    name = type(cost).__name__
    if spec is None:
        family = ResNetFamily(18, stem_out_channels=4, res2_out_channels=8)
        spec = NetworkSpec.build(family, kind=StageKind(((1, 2), (1, 2), (2, 3), (1,))))
    try:
        table = cost.table(spec, _SIZE)
    except AssertionError as error:
        raise AssertionError(f"{name} must add up over the blocks of a network: {error}") from error
    demand(table.unit == cost.unit, f"{name}.table() is in {table.unit}; its unit is {cost.unit}.")
    low, high = json.loads(cost.example.replace("'", '"'))
    demand(low <= high, f"{name}.example is {cost.example}; expected [least, most].")
    assert isinstance(spec.space, SearchSpace)
    for choice in spec.space.choices:
        options = table.options.get(choice.name, {})
        demand(
            set(options) == set(choice.options) and all(map(math.isfinite, options.values())),
            f"{name}.table() must have a finite cost for the options {choice.options} of "
            f"{choice.name}; it has {dict(options)}.",
        )
    again = cost.table(spec, _SIZE)
    demand(again.digest == table.digest, f"{name}.table() must give the same costs each time.")
    if not isinstance(cost, CountedCost):
        return
    for values in itertools.islice(covering_values(spec.space, Random(0)), _SAMPLES):
        genotype = spec.space.genotype(values)
        network = NetworkSpec.build(spec.family, genotype=genotype)
        body = meta_body(network)
        with torch.no_grad(), cost.counting(body) as reading:
            body(meta_image(network, _SIZE))
            direct = reading()
        demand(
            math.isclose(table(genotype), direct),
            f"{name} must add up: the table says {table(genotype):,} {cost.unit} for {genotype}, "
            f"the network itself counts {direct:,}.",
        )
