"""Weight files in the formats of the published ones, and the toy networks that they are of."""

import pickle

import torch
import toy
from detectron2.modeling import build_backbone, build_model

from crnas_d2.checkpoint import TrainingCheckpointer

BODY = "backbone.bottom_up."
PUBLISHED = (2, 1, 2, 3)  # the networks below have blocks beyond these in res3 and res4

_CAFFE2_CONV = {f"conv{i}": f"branch2{letter}" for i, letter in enumerate("abc", start=1)}
_CAFFE2_CONV["shortcut"] = "branch1"
_CAFFE2_NORM = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
_CAFFE2_NORM_LONG = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "running_mean",
    "running_var": "running_var",
}
_TORCHVISION_CONV = {"shortcut": "downsample.0"}
_TORCHVISION_NORM = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "shortcut": "downsample.1"}


def _parts(name):
    """``(stage, block, conv, whether a norm, parameter)`` of ``res2.0.conv1.norm.weight``."""
    *place, parameter = name.split(".")
    is_norm = place[-1] == "norm"
    if is_norm:
        place.pop()
    return (*(place if len(place) == 3 else (place[0], None, place[1])), is_norm, parameter)


def _arrays(state):
    return {name: tensor.numpy() for name, tensor in state.items()}


def caffe2_blobs(body, norm_words=_CAFFE2_NORM):
    """Names like ``conv1_w``, ``res_conv1_bn_s``, ``res2_0_branch2a_w``; numpy arrays."""
    blobs = {}
    for name, array in _arrays(body).items():
        stage, block, conv, is_norm, parameter = _parts(name)
        if parameter == "num_batches_tracked":
            continue
        place = "conv1" if stage == "stem" else f"{stage}_{block}_{_CAFFE2_CONV[conv]}"
        if is_norm:
            place = f"res_{place}_bn" if stage == "stem" else f"{place}_bn"
        blobs[f"{place}_{norm_words[parameter] if is_norm else 'w'}"] = array
    return blobs


def torchvision_state(body):
    """Names like ``conv1.weight``, ``bn1.weight``, ``layer1.0.downsample.0.weight``."""
    state = {}
    for name, tensor in body.items():
        stage, block, conv, is_norm, parameter = _parts(name)
        word = _TORCHVISION_NORM[conv] if is_norm else _TORCHVISION_CONV.get(conv, conv)
        place = "" if stage == "stem" else f"layer{int(stage[-1]) - 1}.{block}."
        state[f"{place}{word}.{parameter}"] = tensor
    return state


def _converted(model):
    return {"model": model, "__author__": "torchvision", "matching_heuristics": True}


def _prefixed(prefix, body):
    return {f"{prefix}{name}": tensor for name, tensor in body.items()}


def _zoo(body):
    return {"model": _arrays(_prefixed(BODY, body)), "__author__": "Detectron2 Model Zoo"}


# What each file holds, given the state dict of a body; a .pkl is pickled, a .pth saved by torch.
CONTENTS = {
    "caffe2.pkl": caffe2_blobs,
    "caffe2-long-names.pkl": lambda body: caffe2_blobs(body, _CAFFE2_NORM_LONG),
    "detectron1.pkl": lambda body: {"blobs": caffe2_blobs(body), "cfg": ""},
    "torchvision-converted.pkl": lambda body: _converted(_arrays(body)),
    "torchvision-converted.pth": _converted,
    "torchvision.pth": torchvision_state,
    "torchvision-ddp.pth": lambda body: {
        "model": _prefixed("module.", torchvision_state(body)),
        "epoch": 3,
    },
    "detector.pth": lambda body: {"model": _prefixed(BODY, body)},
    "detector.pkl": _zoo,
    "classifier.pth": lambda body: {"model": _prefixed("backbone.", body), "iteration": 3},
    "body.pth": lambda body: body,
}


def dump(file, content):
    if file.suffix == ".pkl":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)


def write(folder, format, body):
    """Writes the state dict of a fixed body; returns the file's name."""
    dump(folder / format, CONTENTS[format](body))
    return str(folder / format)


def known_values(module):
    """A state dict of the module's names and shapes in which no two tensors are equal."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(tensor.shape, generator=generator) + 0.5
        if tensor.is_floating_point()
        else torch.tensor(7)
        for name, tensor in module.state_dict().items()
    }


def published_body(shape=toy.RESNETS["basic"], depths=PUBLISHED):
    cfg = toy.network_config(shape, {"MODEL.GENOTYPE.DEPTHS": list(depths)})
    return known_values(build_backbone(cfg).bottom_up)


def network(kind, *overrides):
    """A detector: the fixed network of more blocks than published, or a supernet."""
    if kind == "fixed":
        return build_model(toy.network_config({"MODEL.GENOTYPE.DEPTHS": [2, 2, 3, 3]}, *overrides))
    return build_model(toy.supernet_config({"MODEL.SUPERNET.SHARING": kind}, *overrides))


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def load_into(model, file):
    """Loads a file; the state of the model before and after."""
    before = values(model)
    TrainingCheckpointer(model).load(str(file))
    return before, model.state_dict()
