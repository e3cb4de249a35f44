"""Recipes: settings by flag and by data set that replace the defaults; options that are given override them."""

from __future__ import annotations

from typing import Any

from glimpse_env.datasets import expand_kinds

# The defaults of every agent before they were tuned for the clock on MNIST; the recipes of the other data sets still start from them.
FORMER: dict[str, Any] = {
    "epochs": 40,
    "samples": 2,
    "baseline": "learned",
    "location_discount": 1.0,
    "curriculum": 0.3,
    "augment_shift": 1 / 14,
    "sure": 1.0,
    "reward": "confidence",
    "policy_weight": 0.3,
    "sigma_start": 0.15,
    "sigma_end": 0.05,
    "hidden": 256,
    "learning_rate": 2e-3,
    "muon_rate": 0.01,
}
FORMER_RAM: dict[str, Any] = FORMER | {
    "core": "lstm",
    "features": 256,
    "gamma": 0.99,
    "stop_epochs": 6,
    "stop_rate": None,
}

# The paper's settings on MNIST (Li et al. 2017 section 4.1, and their public code where the paper is silent): ReLU core, one sample with a
# learned baseline, 0/1 reward at the end, constant sigma, SGD with batches of 20, no augmentation.
PAPER_MNIST: dict[str, Any] = {
    "epochs": 800,
    "batch": 20,
    "hidden": 256,
    "samples": 1,
    "baseline": "learned",
    "location_discount": 1.0,
    "sure": 1.0,
    "augment": False,
    "explore": 0.0,
    "curriculum": 0.3,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "glimpse_encoder": "mlp",
    "skip_connection": False,
    "scores": "state",
    "locator": "state",
    "reward": "delayed",
    "policy_weight": 1
    / 7,  # Eq. 8 sums the cross-entropies of 7 steps, here their mean is taken: the two losses keep their proportion
    "sigma_start": 0.22,
    "sigma_end": 0.22,
    "core": "rnn",
    "features": 128,
    "encoder_layers": 1,
    "location_encoding": "linear",
    "learned_start": True,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "precision": "float32",
}
PAPER_STOP: dict[str, Any] = {
    "gamma": 0.98,
    "stop_gradient": "sampled",
    "stop_input": "state",
    "finetune": "all",
    "stop_epochs": 200,
    "stop_rate": None,
}
# On CUB and Cars (section 4.2): 448 x 448 first view, 224 x 224 glimpses, 512 units. Deviations: the rate falls linearly instead of by
# steps, the network is fine-tuned beforehand and then frozen, and one network serves all steps.
PAPER_PHOTOGRAPHS: dict[str, Any] = PAPER_MNIST | {
    "view_size": 448,
    "policy_weight": 1 / 3,  # of 3 steps
    "epochs": 90,
    "batch": 28,
    "hidden": 512,
    "features": 512,
    "sigma_start": 0.24,
    "sigma_end": 0.24,
    "learned_start": False,
    "learning_rate": 1e-3,
}
PAPER = {"mnist": PAPER_MNIST, "cub": PAPER_PHOTOGRAPHS, "cars": PAPER_PHOTOGRAPHS}
LONG: dict[str, dict[str, Any]] = {"mnist": FORMER_RAM}

# Few photographs, features of a frozen network: scores averaged over glimpses, dropout, and the drop in loss as reward.
PHOTOGRAPHS: dict[str, Any] = FORMER_RAM | {
    "epochs": 80,
    "batch": 100,
    "samples": 4,
    "reward": "information_gain",
    "policy_weight": 0.3,
    "explore": 0.3,
    "curriculum": 0.0,
    "sigma_start": 0.5,
    "sigma_end": 0.2,
    "encoder_layers": 1,
    "location_encoding": "linear",
    "scores": "mean",
    "dropout": 0.5,
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "augment": False,
    "gamma": 0.98,
    "stop_epochs": 100,
    "stop_rate": 0.03,  # a held-out fold has few images, so few updates
}

# Informative glimpses are rare: the classes are learned first, at random locations, by convolutions and a skip connection; then the
# locations, on a score map of the first view.
CLUTTER: dict[str, Any] = FORMER_RAM | {
    "batch": 128,
    "curriculum": 0.0,
    "explore": 0.3,
    "policy_weight": 1.0,
    "sigma_start": 0.3,
    "sigma_end": 0.1,
    "glimpse_encoder": "conv",
    "location_encoding": "linear",
    "skip_connection": True,
    "locator": "map",
    "optimizer": "adamw",
}

DATASETS: dict[str, dict[str, Any]] = expand_kinds({"clutter": CLUTTER, "photographs": PHOTOGRAPHS})

# Sermanet et al. 2015. Pixels: a patch at high resolution is not resized; the network sees patches through layers of its own.
SERMANET_PIXELS: dict[str, Any] = FORMER | {
    "encoder_layers": 2,
    "sigma_start": 0.3,
    "sigma_end": 0.1,
    "policy_weight": 1.0,
}
# Photographs: 96 x 96 patches of 512 x 512 images, centres within the middle three quarters (farther out most of a patch is noise).
SERMANET_PHOTOGRAPHS: dict[str, Any] = FORMER | {
    "sensor": "bank",
    "glimpse_size": 96,
    "location_range": 0.75,
    "grid": 5,
    "epochs": 60,
    "batch": 100,
    "samples": 4,
    "curriculum": 0.0,
    "reward": "information_gain",
    "sigma_start": 0.5,
    "sigma_end": 0.2,
    "hidden": 512,
    "dropout": 0.5,
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
}
SERMANET: dict[str, dict[str, Any]] = expand_kinds(
    {
        "digits": SERMANET_PIXELS | {"glimpse_size": 7},
        "clutter": SERMANET_PIXELS | {"glimpse_size": 24, "batch": 128},
        "photographs": SERMANET_PHOTOGRAPHS,
    }
)
# The sizes that the paper states: GoogLeNet, decks of 4,096 units, three resolutions, three glimpses, left-right reversal.
PAPER_SIZES: dict[str, Any] = {"backbone": "googlenet", "hidden": 4096, "augment": True, "glimpses": 3}
PAPER_SERMANET: dict[str, dict[str, Any]] = expand_kinds({"photographs": PAPER_SIZES})

# FCAN on generated images: a glyph fills one of 8 x 8 cells of the map.
FCAN: dict[str, dict[str, Any]] = {
    "clutter": {
        "backbone": "resnet18",
        "image_size": 96,
        "view_size": 256,
        "crop_size": 96,
        "parts": (2, 1),
        "epochs": 8,
    },
}
