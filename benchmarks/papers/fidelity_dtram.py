"""What is as in Li et al. 2017 (DT-RAM, arXiv 1703.10332), and in Mnih et al. 2014 (RAM) as they train it."""

from __future__ import annotations

from papers.component import Component, Part

NETWORK = "glimpse_env/networks/recurrent_attention.py"
OPTIMIZERS = "glimpse_env/training/optimizers.py"
REINFORCE = "glimpse_env/training/reinforce.py"
PRESET = "glimpse_env/datasets/mnist.py"

RAM_MNIST = Part(
    "RAM on MNIST, and the first stage of DT-RAM",
    ("ram_reinforce", "dtram_reinforce"),
    ("mnist",),
    (
        Component(
            "images and glimpses",
            "28 x 28 images, one 8 x 8 glimpse a step, at most 7",
            "4.2",
            dict(image_size=28, glimpse_size=8, scales=(1.0,), first_view="glimpse", glimpses=7),
            where=PRESET,
        ),
        Component(
            "recurrent layer", "a ReLU layer of 256 units", "4.2", dict(core="rnn", hidden=256), where=NETWORK
        ),
    ),
)
PARTS = (RAM_MNIST,)
