"""Agents with random weights, for the tests of this folder."""

from dataclasses import asdict
from pathlib import Path

import torch

from glimpse_env.deployment.export_file import build_step
from glimpse_env.deployment.trained_agent import TrainedAgent
from glimpse_env.evaluation import predictor, stopping_rules
from glimpse_env.networks import registry
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention

SIDE, CLASSES, HORIZON = 32, 4, 3
VIEW = {
    "dataset": "/nowhere",
    "root": None,
    "image_size": SIDE,
    "scales": (1.0,),
    "first_view": "image",
    "initial_location": "center",
    "fill": "zero",
    "max_glimpses": HORIZON,
    "sensor": "pixel",
    "backbone": None,
    "weights": "DEFAULT",
}
PHOTOGRAPHS = {"sensor": "crop", "backbone": "resnet18", "weights": None, "glimpse_size": 32}


def pictures(count, channels=3):
    """Return random images, smooth enough that places in them differ."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, channels, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8)


def build_ram(glimpse, channels=3, **fields):
    """Return a RAM that looks all over the image and has opinions."""
    torch.manual_seed(0)
    sizes = {"classes": CLASSES, "horizon": HORIZON, "hidden": 16, "features": 16, "channels": channels}
    network = RecurrentAttention(Architecture(glimpse=glimpse, **sizes | fields)).eval()
    with torch.no_grad():
        if isinstance(network.locator, torch.nn.Linear):
            torch.nn.init.normal_(network.locator.weight)
        torch.nn.init.normal_(network.classifier.weight)
    return network


def save(network, view, channels=3, **content):
    """Return the content of a checkpoint."""
    saved = {"agent": "test", "dynamic": True, "environment": VIEW | view, "options": {}}
    saved |= {"architecture": asdict(network.architecture), "network": network.state_dict()}
    saved |= {"network_name": registry.find_name(network), "classes": list("abcd")}
    saved |= {"preprocessing": {"channels": channels, "height": SIDE, "width": SIDE}}
    return saved | content


def load(network, view, rule, channels=3, **content):
    """Return the agent of such a checkpoint."""
    saved, source = save(network, view, channels, **content), Path("test.pt")
    found = predictor.load_predictor(saved, source, rule, None, None, "cpu", precision="float32")
    return TrainedAgent(saved, source, found)


def load_divided(network, view, images, **content):
    """Return the agent with a rule that stops half of the images before the last glimpse."""
    whole = load(network, view, stopping_rules.HORIZON, images.shape[1], **content)
    function = build_step(whole)
    last = run_episodes(function, function, images, steps=max(1, function.max_glimpses - 1))[0]
    rule = stopping_rules.Rule("confidence", last.amax(1).quantile(0.5).item())
    return load(network, view, rule, images.shape[1], **content)


@torch.no_grad()
def run_episodes(step, function, images, steps=None):
    """Return answers, numbers of glimpses and locations of a loop around a step function, or its file."""
    count = len(images)
    location = torch.tensor([function.first_location()] * count)
    state = [torch.full((count, field.columns), 9.0) for field in function.fields]  # not read at step 1
    answers, glimpses = torch.zeros(count, CLASSES), torch.zeros(count, dtype=torch.int64)
    stopped, path = torch.zeros(count, dtype=torch.bool), []
    for number in range(1, (steps or function.max_glimpses) + 1):
        path.append(location)
        _, probabilities, location, stop, *state = step(images, location, torch.tensor(number), *state)
        answers[~stopped], glimpses[~stopped] = probabilities[~stopped], number
        stopped |= stop > function.rule.threshold
    return answers, glimpses, torch.stack(path, 1)
