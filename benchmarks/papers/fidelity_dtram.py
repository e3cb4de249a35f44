"""What is as in Li et al. 2017 (DT-RAM, arXiv 1703.10332), and in Mnih et al. 2014 (RAM) as they train it."""

from __future__ import annotations

from papers.component import Component, Part

from glimpse_env.datasets import list_names

PHOTOGRAPHS = list_names("photographs")
RAM = ("ram_reinforce", "dtram_reinforce")
NETWORK = "glimpse_env/networks/recurrent_attention.py"
OPTIMIZERS = "glimpse_env/training/optimizers.py"
REINFORCE = "glimpse_env/training/reinforce.py"
CODE = "code"
UNSTATED = "the paper states none"

HEADS = Component(
    "heads",
    "linear on the state",
    "4.2",
    dict(scores="state", skip_connection=False, locator="state"),
    where=NETWORK,
)

CORNERS = (
    "with the code's bound and initial weights most later glimpses go to one corner after 14 of 100 epochs"
)


def describe_policy(sigma: float) -> Component:
    """Return the row of a Gaussian location policy of this width."""
    return Component(
        "location policy",
        f"Gaussian of a fixed width: {sigma:g} of the range; its mean at test time",
        "3; the width: code",
        dict(location_policy="gaussian", policy="learned", explore=0.0, sigma_start=sigma, sigma_end=sigma),
        where="glimpse_env/networks/location_policy.py",
    )


OBJECTIVE = (
    Component("reward", "1 for a correct final prediction", "3.3", dict(reward="delayed")),
    Component(
        "credit of a location",
        "all later rewards",
        "Eq. 6",
        dict(location_discount=1.0),
        where=REINFORCE,
    ),
    Component(
        "episodes", "one sampled trajectory an image, to the last glimpse", "3", dict(samples=1, sure=1.0)
    ),
    Component(
        "intermediate supervision",
        "cross-entropy at every glimpse",
        "Eq. 8",
        dict(supervision=True, label_smoothing=0.0),
        where=REINFORCE,
    ),
)
SHARED = (
    Component("training images", "all", "4", dict(split="train"), where="glimpse_env/datasets/base.py"),
    Component(
        "curriculum",
        "the number of glimpses grows, one at a time",
        "3.4",
        dict(curriculum=0.3),
        "how long each number lasts is not stated",
    ),
    Component("regularisation", "none stated", "4.2", dict(dropout=0.0)),
    Component(
        "clipping, warm-up",
        "none stated",
        "4.2",
        dict(max_grad_norm=0.0, warm_up=0, precision="float32"),
        where=OPTIMIZERS,
    ),
)
RAM_MNIST = Part(
    "RAM on MNIST, and the first stage of DT-RAM",
    RAM,
    ("mnist",),
    (
        Component(
            "images and glimpses",
            "28 x 28 images, one 8 x 8 glimpse a step, at most 7",
            "4.2",
            dict(image_size=28, glimpse_size=8, scales=(1.0,), first_view="glimpse", glimpses=7),
            where="glimpse_env/datasets/mnist.py",
        ),
        Component(
            "range of locations",
            "13 pixels from the centre",
            CODE,
            dict(location_range=13 / 14),
            where="glimpse_env/datasets/mnist.py",
        ),
        Component("recurrent layer", "ReLU, 256 units", "4.2", dict(core="rnn", hidden=256), where=NETWORK),
        Component(
            "glimpse network",
            "one ReLU layer of 128 units each for pixels and location, then one of 256 for both",
            CODE,
            dict(glimpse_encoder="mlp", encoder_layers=1, features=128, location_encoding="linear"),
            where=NETWORK,
        ),
        HEADS,
        describe_policy(0.22),
        Component("first location", "the locator's answer to a zero state", CODE, dict(learned_start=True)),
        *OBJECTIVE,
        Component(
            "weights of the losses",
            "sums over the glimpses",
            "Eq. 8",
            dict(policy_weight=1 / 7),
            "the cross-entropies are averaged, not summed; 1/7 keeps their proportion to the policy's loss",
            where=REINFORCE,
        ),
        Component(
            "baseline",
            "one learned number",
            CODE,
            dict(baseline="learned"),
            "here it is a linear layer on the state",
            where=REINFORCE,
        ),
        Component("augmentation", "none", CODE, dict(augment=False)),
        Component("optimiser", "SGD, momentum 0.9, batches of 20", "4.2", dict(optimizer="sgd", batch=20)),
        Component(
            "learning rate",
            "0.01 to 0.00001 linearly in 800 epochs",
            CODE,
            dict(learning_rate=0.007, schedule="linear", epochs=800),
            "the same in effect: the code's library multiplies gradients by 0.1 in a momentum of 0.9, and "
            "the cross-entropies of 7 glimpses are summed there, averaged here; it falls to 0",
            where=OPTIMIZERS,
        ),
        Component(
            "bound of the location's mean",
            "hardtanh",
            CODE,
            dict(location_bound="tanh"),
            CORNERS,
            where="glimpse_env/networks/location_policy.py",
        ),
        Component(
            "initial weights",
            "uniform in +-0.1",
            CODE,
            dict(initial_weights="torch"),
            f"{CORNERS}; the location head's are a tenth of torch's",
            where=NETWORK,
        ),
        *SHARED,
    ),
)
RAM_PHOTOGRAPHS = Part(
    "RAM on photographs, and the first stage of DT-RAM",
    RAM,
    PHOTOGRAPHS,
    (
        Component(
            "images and glimpses",
            "512 x 512 images; 448 x 448 pixels at step 1, then 224 x 224; at most 3 glimpses",
            "4.2",
            dict(
                image_size=512, first_crop=0.875, view_size=448, glimpse_size=224, scales=(1.0,), glimpses=3
            ),
            "where the first crop lies in training is not stated (its code: anywhere); here at the centre",
            where="glimpse_env/sensors/crop.py",
        ),
        Component(
            "network",
            "ResNet-50, tuned beforehand, then trained with RAM",
            "3.4, 4.2",
            dict(sensor="crop", backbone="resnet50"),
            "here it is frozen after that, and all steps share it (its code: a network for each step)",
            where="glimpse_env/sensors/crop.py",
        ),
        Component(
            "recurrent layer",
            "fully connected + ReLU, 512 units, on the network's features alone",
            "4.2",
            dict(core="rnn", hidden=512, encoder_layers=0, location_encoding="none"),
            where=NETWORK,
        ),
        HEADS,
        describe_policy(0.24),
        Component(
            "range of locations",
            "not stated",
            "4.2",
            differs="the code limits them to 150/224 of the image; here glimpses stay inside the image",
            text="glimpses stay inside the image (`--location-range`)",
        ),
        *OBJECTIVE,
        Component(
            "weights of the losses",
            "sums over the glimpses",
            "Eq. 8",
            dict(policy_weight=1 / 3),
            "the cross-entropies are averaged, not summed; 1/3 keeps their proportion to the policy's loss",
            where=REINFORCE,
        ),
        Component("baseline", "not stated", "3", dict(baseline="learned"), UNSTATED, where=REINFORCE),
        Component(
            "augmentation",
            "mirrored images; random crops and colours",
            CODE,
            dict(augment=True),
            "mirrored images only: features of stored images are computed by a frozen network",
        ),
        Component("optimiser", "SGD, momentum 0.9, batches of 28", "4.2", dict(optimizer="sgd", batch=28)),
        Component(
            "learning rate",
            "0.001, a tenth of it after every 30 of 90 epochs",
            "4.2",
            dict(learning_rate=0.001, schedule="step", epochs=90),
            where=OPTIMIZERS,
        ),
        Component(
            "initial weights",
            "not stated",
            "3",
            differs=f"{UNSTATED}; torch's own are used",
            text="torch's; the location head's a tenth of them",
            where=NETWORK,
        ),
        *SHARED,
    ),
    "The paper has CUB and Cars, not Dogs; there its settings for photographs are used.",
)
STOPPING = (
    Component(
        "stop head", "linear on the state", "4.2", dict(stop_input="state", stop_hidden=0), where=NETWORK
    ),
    Component("clamp of the stop head", "none (its code: +-10)", "4.2", dict(stop_clamp=0.0), where=NETWORK),
    Component("stops in training", "sampled", "Eq. 5", dict(stop_gradient="sampled"), where=REINFORCE),
    Component("stops at test time", "the more probable decision", "3.3", text="the more probable decision"),
    Component(
        "what is trained",
        "everything (its code freezes most of the RAM)",
        "3.4",
        dict(finetune="all", stop_rate=None),
        "on photographs the network stays frozen, as in the first stage",
    ),
)
DTRAM_MNIST = Part(
    "DT-RAM on MNIST: the second stage",
    ("dtram_reinforce",),
    ("mnist",),
    (
        Component("reward", "0.98^t for a correct prediction (DT-RAM-1)", "4.2", dict(gamma=0.98)),
        *STOPPING,
        Component("length", "not stated", "4.2", dict(stop_epochs=200), UNSTATED),
    ),
)
DTRAM_PHOTOGRAPHS = Part(
    "DT-RAM on photographs: the second stage",
    ("dtram_reinforce",),
    PHOTOGRAPHS,
    (
        Component(
            "reward", "gamma^t for a correct prediction", "3.3", dict(gamma=0.98), "gamma is not stated"
        ),
        *STOPPING,
        Component(
            "length",
            "90 epochs",
            "4.2",
            dict(stop_epochs=90),
            "the paper states 90 epochs once; here each of the two stages has them",
        ),
    ),
)
STEP_0 = Part(
    "Step 0: the network of RAM and DT-RAM on photographs",
    ("finetune_backbone",),
    PHOTOGRAPHS,
    (
        Component(
            "network", "ResNet-50, trained on ImageNet", "4.2", dict(backbone="resnet50", weights="DEFAULT")
        ),
        Component(
            "images",
            "448 x 448 crops of 512 x 512 images",
            "4.2",
            dict(split="train", image_size=512, view_size=448, first_crop=0.875),
        ),
        Component(
            "augmentation of scale",
            "yes, of whole images",
            "4",
            dict(whole=1.0, whole_area=0.765625, zoom_area=0.08),
            "its range is not stated (its code: 8 to 100 % of the area); here 77 to 100 %",
        ),
        Component("augmentation of colour", "yes", "4; its strength: code", dict(colour=0.4)),
        Component("weight decay", "yes", "4; its strength: code", dict(weight_decay=1e-4)),
        Component("label smoothing", "none stated", "4.2", dict(label_smoothing=0.0)),
        Component(
            "optimiser", "SGD, momentum 0.9, batches of 28", "4.2", dict(batch=28, precision="float32")
        ),
        Component(
            "momentum", "plain", "4.2", dict(nesterov=False), "Nesterov's is neither named nor excluded"
        ),
        Component(
            "learning rate",
            "a tenth of it after every 30 of 90 epochs",
            "4.2; 0.01: code",
            dict(learning_rate=0.01, head_rate=0.01, step_decay=True, epochs=90),
        ),
    ),
)
PARTS = (RAM_MNIST, DTRAM_MNIST, RAM_PHOTOGRAPHS, DTRAM_PHOTOGRAPHS, STEP_0)
