"""The weights of one network inside a supernet."""

from torch import Tensor, nn

from crnas_d2.layers import ChannelMixedConv2d, ChoiceBlock, active_modules
from crnas_d2.modeling import find_supernet
from crnas_d2.space import Genotype


def fixed_names(model: nn.Module) -> dict[str, str]:
    """Return, for each tensor of ``model``, the name that it has in a fixed network.

    Several tensors of a supernet, the replicas, have the same name there. E.g. the first block of
    every branch of ``res2``, ``res2.0.branches.3.0.conv1.weight`` and others, is
    ``res2.0.conv1.weight``; and ``conv2.weights.<g>`` of a mix of dilations is ``conv2.weight``.
    All other tensors keep their names.
    """
    # Reversed, because named_modules() has parents first: the name inside an inner choice is
    # resolved before the outer choice moves the whole block.
    choices = [item for item in model.named_modules() if isinstance(item[1], ChoiceBlock)][::-1]
    names = {}
    for name in model.state_dict():
        names[name] = name
        for place, block in choices:
            if name.startswith(f"{place}."):
                offset, rest = block.fixed_name(names[name].removeprefix(f"{place}."))
                stage, _, index = place.rpartition(".")  # res2, 0
                later = f"{stage}.{int(index) + offset}" if offset else place
                names[name] = f"{later}.{rest}"
    for place, module in model.named_modules():
        if isinstance(module, ChannelMixedConv2d):
            for index in range(len(module.weights)):
                names[f"{place}.weights.{index}"] = f"{place}.weight"
    return names


def subnet_state_dict(model: nn.Module, genotype: Genotype) -> dict[str, Tensor]:
    """Return the weights of one subnet, under the names of the fixed network of ``genotype``.

    With them, a searched network can start from what the supernet, or the detector on one, learned.
    The tensors are the model's own, as in ``state_dict()``; the supernet stays on the path of
    ``genotype``. Raises ValueError if that is outside the space.
    """
    supernet = find_supernet(model)
    assert supernet is not None and supernet.has_paths, "the model has no single-path supernet"
    supernet.set_path(genotype)
    on_path = set(active_modules(model))
    names = fixed_names(model)
    return {
        names[name]: tensor
        for name, tensor in model.state_dict().items()
        if model.get_submodule(name.rpartition(".")[0]) in on_path
    }
