"""The config of one network for a Detectron2 without this package, where that is possible."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from torch import nn

from crnas_d2.config import NetworkSpec, changed_settings
from crnas_d2.config.architectures import find_architecture
from crnas_d2.config.entries import leaves
from crnas_d2.layers import DecodedConv2d
from crnas_d2.modeling.backbone import PLAIN_BUILDERS
from crnas_d2.runs.metrics import EXPORTED
from crnas_d2.space import PlainResNet

# By our builder, the function of backbone.py.
_FUNCTIONS = {
    "build_supernet_backbone": "body_alone",
    "build_supernet_fpn_backbone": "with_fpn",
    "build_supernet_retinanet_fpn_backbone": "with_retinanet_fpn",
}
# Of searches and trainings: nothing that one trained network needs.
_DROPPED = ("SEARCH.", "SOLVER.", "DATASETS.", "DATALOADER.", "MODEL.INHERIT")
_SEARCHED = {
    f"MODEL.SUPERNET.{key}"
    for key in ("SPACE", "STAGE_OPTIONS", "OPERATION_OPTIONS", "SHARING", "PATH_SAMPLER")
}


@dataclass(frozen=True)
class PlainNetwork:
    """What an exported folder needs besides its weights."""

    config: str  # the content of ``config.yaml``
    needs: str  # what has to be installed or imported to build the network
    why: str = ""  # sentences, where Detectron2 alone is not enough
    backbone_file: str = ""  # the content of ``backbone.py``; empty if there is none
    # Settings by key with which this package builds the network from ``config.yaml``.
    ours: Mapping[str, object] = field(default_factory=dict)


def describe_plain(cfg: CfgNode, spec: NetworkSpec | None, backbone: nn.Module) -> PlainNetwork:
    """Find the plainest config of a network.

    ``config.yaml`` alone is enough for a ResNet or ResNeXt without dilations whose blocks are
    those of ``MODEL.RESNETS.DEPTH`` (for 18 and 34 also with 64 channels in res2): Detectron2
    knows no others. With ``backbone.py``, which imports Detectron2 only, it is enough for any
    ResNet or ResNeXt, with FPN or without a neck. Networks with decoded channels, other families
    and NAS-FPN need this package.

    Args:
        spec: of the body; ``None`` if the backbone is not ours.
        backbone: the one of the trained network.
    """
    plain, depth_range = _find_plain(cfg, spec, backbone), list(cfg.INPUT.DEPTH_RANGE)
    if not depth_range or plain.needs == "crnas_d2":
        return plain
    why = (
        f"Detectron2 has no INPUT.DEPTH_RANGE: map images of more than 8 bits per channel from "
        f"{depth_range} to 0 to 255 before it gets them."
    )
    ours = {**plain.ours, "INPUT.DEPTH_RANGE": depth_range}
    return replace(plain, why=f"{plain.why} {why}".strip(), ours=ours)


def _find_plain(cfg: CfgNode, spec: NetworkSpec | None, backbone: nn.Module) -> PlainNetwork:
    content = _common(yaml.safe_load(cfg.dump()), yaml.safe_load(get_cfg().dump()))
    content["MODEL"]["WEIGHTS"], content["OUTPUT_DIR"] = EXPORTED, "./output"
    # Nothing of it refers to the data.
    for key in ("TRAIN", "TEST", "PROPOSAL_FILES_TRAIN", "PROPOSAL_FILES_TEST"):
        content["DATASETS"][key] = []
    resnet = spec.family.plain_resnet(spec.genotype) if spec is not None else None
    if why := _why_ours(cfg, spec, resnet, backbone):
        theirs, settings = dict(leaves(get_cfg())), changed_settings(cfg)
        if cfg.PLUGINS:
            settings["PLUGINS"] = list(cfg.PLUGINS)
        for key, value in settings.items():
            if key in theirs or key.startswith(_DROPPED) or key in _SEARCHED:
                continue
            *path, last = key.split(".")
            node = content
            for part in path:
                node = node.setdefault(part, {})
            node[last] = json.loads(json.dumps(value))  # tuples become lists
        return PlainNetwork(yaml.safe_dump(content), "crnas_d2", why)
    if spec is None or resnet is None:
        return PlainNetwork(yaml.safe_dump(content), "detectron2")
    values = {"FAMILY": spec.family.name, **spec.genotype.to_config()}
    values.pop("CHANNELS", None)  # all of them have the dilation of the base network
    ours = {"MODEL.BACKBONE.NAME": cfg.MODEL.BACKBONE.NAME}
    ours |= {f"MODEL.GENOTYPE.{key}": value for key, value in values.items()}
    name = cfg.MODEL.BACKBONE.NAME
    builder, function = PLAIN_BUILDERS[name], _FUNCTIONS[name]
    # The pyramid of Detectron2's builder ends with res5.
    if resnet.is_known and (function != "with_fpn" or "res5" in cfg.MODEL.FPN.IN_FEATURES):
        content["MODEL"]["BACKBONE"]["NAME"] = builder
        return PlainNetwork(yaml.safe_dump(content), "detectron2", ours=ours)
    name = content["MODEL"]["BACKBONE"]["NAME"] = _builder_name(resnet, function)
    file = _BACKBONE_FILE.format(
        depths=list(resnet.depths),
        dilations=json.dumps(resnet.dilations, indent=4) if resnet.dilations else "{}",
        basic=resnet.has_basic_blocks,
        name=json.dumps(name),
        function=function,
    )
    why = f"Detectron2's {builder} has no network of {list(resnet.depths)} blocks"
    if resnet.dilations:
        why += " with these dilations"
    elif resnet.has_known_depths:
        why += " with these widths, stages or this depth"
    needs = "detectron2 and backbone.py"
    return PlainNetwork(yaml.safe_dump(content), needs, f"{why}.", file, ours)


def _common(values: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return the values whose keys are known."""
    return {
        key: _common(value, known[key]) if isinstance(value, dict) else value
        for key, value in values.items()
        if key in known
    }


def _why_ours(
    cfg: CfgNode, spec: NetworkSpec | None, resnet: PlainResNet | None, backbone: nn.Module
) -> str:
    """Return why a network needs this package; "" if Detectron2 alone can build it."""
    if cfg.PLUGINS:
        return f"It is built by {', '.join(cfg.PLUGINS)} (PLUGINS)."
    if find_architecture(cfg).classifies:
        return "Its classifier is one of crnas_d2."
    if spec is None:
        return ""
    if resnet is None:
        return f"Detectron2 has no {spec.family.name}."
    if cfg.MODEL.BACKBONE.NAME not in PLAIN_BUILDERS:
        return "Detectron2 has no NAS-FPN."
    if any(isinstance(module, DecodedConv2d) for module in backbone.modules()) or any(
        name.endswith("group_dilations") for name in backbone.state_dict()
    ):
        return "Detectron2 has no convolutions of several dilations."
    return ""


def _builder_name(resnet: PlainResNet, function: str) -> str:
    """Return a name that two networks share only if they are the same."""
    depths, dilations = "_".join(map(str, resnet.depths)), resnet.dilations
    mark = f"_{hashlib.sha1(repr(dilations).encode()).hexdigest()[:8]}" if dilations else ""
    neck = function.replace("body_alone", "body")
    block = "basic" if resnet.has_basic_blocks else "bottleneck"
    return f"build_resnet_{block}_{depths}{mark}_{neck}_backbone"


_BACKBONE_FILE = '''\
"""The backbone of config.yaml for a Detectron2 without crnas_d2; import this file first."""

import math

from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet

NAME = {name}  # MODEL.BACKBONE.NAME
DEPTHS = {depths}  # blocks of res2 to res5
DILATIONS = {dilations}  # of convolutions; the others have 1
BASIC_BLOCKS = {basic}


def body_alone(cfg, input_shape):
    """Build the ResNet."""
    resnets = cfg.MODEL.RESNETS
    stem = BasicStem(input_shape.channels, resnets.STEM_OUT_CHANNELS, resnets.NORM)
    in_channels, stages = resnets.STEM_OUT_CHANNELS, []
    for index, depth in enumerate(DEPTHS):
        out_channels = resnets.RES2_OUT_CHANNELS * 2**index
        settings = {{"block_class": BasicBlock}}
        if not BASIC_BLOCKS:
            settings = {{
                "block_class": BottleneckBlock,
                "bottleneck_channels": resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP * 2**index,
                "num_groups": resnets.NUM_GROUPS,
                "stride_in_1x1": resnets.STRIDE_IN_1X1,
            }}
        blocks = ResNet.make_stage(
            num_blocks=depth,
            stride_per_block=[2 if index else 1] + [1] * (depth - 1),
            in_channels=in_channels,
            out_channels=out_channels,
            norm=resnets.NORM,
            **settings,
        )
        stages.append(blocks)
        in_channels = out_channels
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    body = ResNet(stem, stages, out_features=resnets.OUT_FEATURES, freeze_at=freeze_at)
    for name, dilation in DILATIONS.items():
        conv = body.get_submodule(name)
        conv.dilation = conv.padding = (dilation, dilation)
    return body


def with_fpn(cfg, input_shape):
    """Build the ResNet with the FPN of Faster, Mask and Cascade R-CNN."""
    body, top_block = body_alone(cfg, input_shape), LastLevelMaxPool()
    strides = [body.output_shape()[name].stride for name in cfg.MODEL.FPN.IN_FEATURES]
    top_block.in_feature = f"p{{int(math.log2(max(strides)))}}"
    return _neck(cfg.MODEL.FPN, body, top_block)


def with_retinanet_fpn(cfg, input_shape):
    """Build the ResNet with the FPN of RetinaNet."""
    body, fpn = body_alone(cfg, input_shape), cfg.MODEL.FPN
    top_block = LastLevelP6P7(body.output_shape()["res5"].channels, fpn.OUT_CHANNELS)
    return _neck(fpn, body, top_block)


def _neck(fpn, body, top_block):
    settings = {{"norm": fpn.NORM, "top_block": top_block, "fuse_type": fpn.FUSE_TYPE}}
    return FPN(body, fpn.IN_FEATURES, fpn.OUT_CHANNELS, **settings)


build = {function}
if NAME not in BACKBONE_REGISTRY:  # which may have it from another copy of this file
    build.__name__ = NAME
    BACKBONE_REGISTRY.register(build)
'''
