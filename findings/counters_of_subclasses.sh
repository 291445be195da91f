#!/usr/bin/env bash
# Detectron2's convolution is a subclass of torch.nn.Conv2d that owns its norm, and so are those of
# other libraries. Counters that look up the type of a module, or count modules without children,
# take it for something else. One such 3x3 convolution, 3 to 8 channels, on 32x32 pixels has 221,184
# MACs and 216 parameters, its BN has 16 parameters. Found, without an error or a word about it:
#
#   thop 0.1.1.post2209072238      32,768 MACs and 16 parameters: those of the BN
#   ptflops 0.7.5, backend pytorch 16,384 MACs (its backend aten: 221,184)
#   torchinfo 1.8.0                    16 mult-adds
#
# All three count 221,184 for torch.nn.Conv2d itself. torch.utils.flop_counter 2.14.1, which sees
# operators instead of modules, counts 221,184 for both (two operations each).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.14.1 numpy \
    thop==0.1.1.post2209072238 ptflops==0.7.5 torchinfo==1.8.0

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import thop
import torch
import torchinfo
from ptflops import get_model_complexity_info
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Conv2d(nn.Conv2d):
    """A convolution that owns its norm."""

    def __init__(self, *args, norm, **settings):
        super().__init__(*args, **settings)
        self.norm = norm

    def forward(self, x):
        return self.norm(super().forward(x))


def count(convolution):
    model, image = nn.Sequential(convolution).eval(), torch.randn(1, 3, 32, 32)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(image)
    settings = dict(as_strings=False, print_per_layer_stat=False, verbose=False)
    return {
        "thop": tuple(map(int, thop.profile(model, inputs=(image,), verbose=False))),
        "ptflops, pytorch": get_model_complexity_info(
            model, (3, 32, 32), backend="pytorch", **settings
        )[0],
        "ptflops, aten": get_model_complexity_info(
            model, (3, 32, 32), backend="aten", **settings
        )[0],
        "torchinfo": torchinfo.summary(model, input_data=image, verbose=0).total_mult_adds,
        "torch": flops.get_total_flops() // 2,
    }


shape = dict(in_channels=3, out_channels=8, kernel_size=3, padding=1, bias=False)
plain, owning = count(nn.Conv2d(**shape)), count(Conv2d(**shape, norm=nn.BatchNorm2d(8)))
for name in plain:
    print(f"{name}: {plain[name]} of torch.nn.Conv2d, {owning[name]} of a subclass with a norm")
assert plain == {
    "thop": (221184, 216),
    "ptflops, pytorch": 221184,
    "ptflops, aten": 221184,
    "torchinfo": 221184,
    "torch": 221184,
}, plain
assert owning == {
    "thop": (32768, 16),
    "ptflops, pytorch": 16384,
    "ptflops, aten": 221184,
    "torchinfo": 16,
    "torch": 221184,
}, owning
PYTHON
