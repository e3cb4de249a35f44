"""What is as in Sermanet et al. 2015 (arXiv 1412.7054); where it is silent, in Ba et al. 2014, its basis."""

from __future__ import annotations

from papers.component import Component, Part

NONE = "-"  # no section of the paper is known for it

NETWORK, VIEWS = "glimpse_env/networks/double_decker.py", "glimpse_env/sensors/image_views.py"
BA = "not stated; in Ba et al. 2014"
SERMANET = Part(
    "Sermanet's agent on Dogs, CUB and Cars",
    ("sermanet_rnn",),
    ("dogs", "cub", "cars"),
    (
        Component("training images", "all of them", NONE, dict(split="train")),
        Component(
            "network of a patch", "GoogLeNet, not tuned on the data set", NONE, dict(backbone="googlenet")
        ),
        Component(
            "its first layer and its weights",
            "stride 1; trained on patches of several scales of ImageNet, without the images of Dogs",
            NONE,
            text="stride 2; torchvision's weights, trained on whole images, those of Dogs among them",
            differs="no weights of the paper's network are available",
            where="glimpse_env/backbone/torchvision.py",
        ),
        Component(
            "glimpse",
            "patches of 1/4, 1/2 and all of the image's short side around one centre, 96 pixels each",
            NONE,
            dict(resolutions=("high", "medium", "low"), glimpse_size=96, glimpses=3),
        ),
        Component("pixels outside the image", "random noise", NONE, dict(fill="noise"), where=VIEWS),
        Component(
            "image",
            "of its own shape; patches are fractions of its short side",
            NONE,
            text="resized to a square",
            differs="stored images have one size",
            where="glimpse_env/datasets/store.py",
        ),
        Component("locations", "anywhere in the image", NONE, dict(sensor="crop", location_range=1.0)),
        Component(
            "context",
            "a patch of low resolution: at a random location in training, at the centre in testing",
            "3",
            text="the whole image, that is the low patch at the centre, in training too",
            differs="the sensors show one context an image",
            where="glimpse_env/sensors/crop.py",
        ),
        Component(
            "number of glimpses in training",
            "all three, in every image",
            NONE,
            dict(curriculum=0.0, sure=1.0),
        ),
        Component("decks", "two recurrent layers of 4,096 units", "3", dict(hidden=4096), where=NETWORK),
        Component(
            "training of the location deck",
            "through the location that it hands to the class deck, and by the policy gradient",
            "3",
            dict(location_gradient=1.0),
            where=NETWORK,
        ),
        Component("augmentation", "left-right flips", NONE, dict(augment=True)),
        Component("class scores", f"{BA} those of the last glimpse", NONE, dict(supervision=False)),
        Component("dropout and label smoothing", "not stated", NONE, dict(dropout=0.0, label_smoothing=0.0)),
        Component(
            "reward",
            f"{BA} 1 for a correct prediction at the end",
            NONE,
            dict(reward="delayed", location_discount=1.0),
        ),
        Component("baseline", f"{BA} an output of the network", NONE, dict(samples=1, baseline="learned")),
        Component(
            "activations, first state of the class deck, range of locations",
            "not stated",
            NONE,
            text="ReLU, 0, tanh",
            differs="this project's choice",
            where=NETWORK,
        ),
        Component(
            "optimiser, epochs, spread of the locations, weight of REINFORCE",
            "not stated",
            NONE,
            dict(optimizer="adamw", learning_rate=1e-3, weight_decay=0.1, epochs=60, batch=100)
            | dict(sigma_start=0.5, sigma_end=0.2, policy_weight=0.3),
            differs="this project's choice",
        ),
    ),
)
PARTS = (SERMANET,)
