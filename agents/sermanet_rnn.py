"""Sermanet's multi-resolution attention: glimpses at up to three resolutions, and a context that proposes where to look (arXiv 1412.7054).

    python agents/sermanet_rnn.py                                          # MNIST on a CPU, minutes
    python agents/sermanet_rnn.py --dataset cub --weights WEIGHTS          # photographs: crops on a grid, computed once
    python agents/sermanet_rnn.py --dataset cub --resolutions high medium --glimpses 2
    python agents/sermanet_rnn.py --dataset dogs --paper                   # the paper's sizes, as far as they are known

A glimpse is a set of square patches around one centre, resized to one size and seen through one frozen network; off the image lies noise.
The context reaches the class scores through the locations it proposes alone. Where to look is learned by backpropagation through
the location and by REINFORCE.

Deviations from the paper: the context is the whole image, in training too (the paper's is a low-resolution patch at a random place
then); images are squares (resized to, not cropped), and so are the windows; places are those of a grid (--sensor bank); the class is
supervised at every glimpse (--no-supervision: at the last); M samples of the locations with a leave-one-out baseline; reward, optimiser
and rates are this project's (the paper states none); torchvision's GoogLeNet keeps the stride 2 of its first layer, and its weights have
seen the images of Stanford Dogs.
"""

from __future__ import annotations

from glimpse_env.learning import sermanet
from glimpse_env.learning.options import parse
from glimpse_env.learning.recipes import PAPER_SERMANET, SERMANET

if __name__ == "__main__":
    sermanet.train(parse(sermanet.SermanetOptions, {"paper": PAPER_SERMANET}, SERMANET, __doc__ or ""))
