"""What is as in Liu et al. 2016 (FCAN, arXiv 1603.06765, the versions of 2016)."""

from __future__ import annotations

from papers.component import Component, Part

NONE = "-"  # no section of the paper is known for it

LOCALISE, NETWORK, REGIONS = (
    "agents/fcan/localise.py",
    "glimpse_env/networks/fcan.py",
    "agents/fcan/regions_table.py",
)
TUNING = "agents/finetune_backbone.py"
CROPS = Component(
    "crops of the last stage",
    "448 pixels, from the image at full resolution",
    "5",
    dict(crop_size=448),
    where=REGIONS,
)
SHARED = (
    Component("training images", "all of them", "5", dict(split="train")),
    Component(
        "parts",
        "4 x 4 and 8 x 8 cells of a map of 16 x 16; on Dogs the 4 x 4 part first (else not stated)",
        "5",
        dict(parts=(4, 8)),
    ),
    Component(
        "localiser of a part",
        "3 x 3 convolutions to 64 channels and to one score a cell, softmax over the cells",
        "4",
        dict(see_earlier_maps=False),
        where=NETWORK,
    ),
    Component(
        "light classifier of a step",
        "reads the map at the part's place and the earlier attention maps, in a form that is left open",
        "4",
        text="linear, on the mean features of the whole image and of all parts so far",
        where=NETWORK,
    ),
    Component(
        "features of the map", "no word on standardising them", "4", dict(standardise=False), where=LOCALISE
    ),
    Component("location samples of a part (K)", "16", "5", dict(samples=16), where=LOCALISE),
    Component(
        "reward",
        "Eq. 4: r_1 = [correct]; later [correct, and the loss fell]; step 1 is part 1",
        "4.1",
        dict(reward="greedy", first_reward="part", rewarded="own"),
        where=LOCALISE,
    ),
    Component("baseline of the reward", "none", "4.1", dict(baseline=False), where=LOCALISE),
    Component(
        "objective",
        "J = R - lambda L",
        "4",
        text="R for the localisers, L for the light classifiers, without lambda",
        differs="they share no parameters and the steps of RMSProp do not depend on the scale of a loss: "
        "lambda would change nothing",
        where=LOCALISE,
    ),
    Component(
        "optimiser of the localisers",
        "RMSProp, rate 0.01, batches of 512",
        "5.1",
        dict(batch=512, learning_rate=0.01),
        where=LOCALISE,
    ),
    Component(
        "its epochs, after a short warm-up with a rate that falls linearly",
        "not stated",
        NONE,
        dict(epochs=15),
        differs="this project's choice",
        where=LOCALISE,
    ),
    Component(
        "fine-tuning of the networks: whole images and zoomed crops; later the regions",
        "not stated",
        NONE,
        dict(tune_epochs=30, final_epochs=10),
        differs="this project's choice",
        where=TUNING,
    ),
    Component(
        "final classifiers",
        "a network of its own for the whole image and for every part",
        "5.1",
        dict(final="finetune"),
        where=REGIONS,
    ),
    Component(
        "prediction",
        "the mean of the class scores of the whole image and all parts",
        NONE,
        text="the mean of their class probabilities",
        where=REGIONS,
    ),
    Component(
        "repetition of the three stages",
        "until they converge",
        "5.1",
        dict(repeat=1),
        differs="nothing measures convergence: `--repeat N` sets their number",
    ),
    Component(
        "ground-truth boxes as regions",
        "crops at the objects' boxes (Tables 4 and 6)",
        "5",
        text="the box is resized to a square; its class probabilities are averaged with the whole image's",
        differs="the paper states neither",
        where="agents/fcan/boxes.py",
    ),
)
CUB_AND_CARS = Part(
    "FCAN on CUB and Cars",
    ("fcan_greedy",),
    ("cub", "cars"),
    (
        Component("network", "GoogLeNet; the map is inception_5b", "5", dict(backbone="googlenet")),
        Component("images", "512 x 512 pixels", "5", dict(image_size=512)),
        CROPS,
        *SHARED,
    ),
)
DOGS = Part(
    "FCAN on Dogs",
    ("fcan_greedy",),
    ("dogs",),
    (
        Component("network", "VGG-16; the map is conv5_3", "5", dict(backbone="vgg16")),
        Component("images", "256 x 256 pixels", "5", dict(image_size=256)),
        Component("crops of the last stage", "not stated", NONE, dict(crop_size=224), where=REGIONS),
        *SHARED,
    ),
)
PARTS = (CUB_AND_CARS, DOGS)
