"""FCAN: parts of an image found by score maps on its feature map, paid by a greedy reward (Liu et al. 2016, arXiv 1603.06765).

    python agents/fcan_greedy.py --dataset cub                               # tune a ResNet-50, find parts, classify them
    python agents/fcan_greedy.py --dataset cub --weights weights.pth         # with a network that finetune_backbone.py has tuned
    python agents/fcan_greedy.py --dataset cub --stage classify --final finetune      # one stage anew: a network for each region
    python agents/fcan_greedy.py --dataset clutter --weights resnet18.pth --final none    # find the glyph, on a network of ImageNet

Three stages (section 3.4), each kept in the output folder: tune (as finetune_backbone.py), localise (the maps of all images are computed
once; a small fully convolutional head for each part learns where to look by REINFORCE, from light classifiers on the same map), classify
(the parts cut out of the image at full resolution, a classifier for each, probabilities averaged with those of the whole image; beside
random and central places).

Deviations from the paper: the whole image is the first step, so part 1 too is paid for a fall in loss; features are standardised; a place
is paid what it earns more than the image's other samples (`--no-baseline`: the paper's); RMSProp takes batches of 32 at rate 0.001
(`--batch 512 --learning-rate 0.01`: the paper's), chosen, like the order of the parts, on held-out training images; the stages run once
instead of until nothing changes; the default final classifiers are linear on frozen features (`--final finetune`: the paper's); crops have
the preset's 224 pixels (`--crop-size 448`: the paper's).
"""

from __future__ import annotations

from fcan.plan import FcanOptions
from fcan.stages import execute

from glimpse_env.training.options import parse
from glimpse_env.training.recipes import FCAN

if __name__ == "__main__":
    execute(parse(FcanOptions, {}, FCAN, __doc__ or ""))
