"""What an image costs at test time: measured milliseconds, and 2 x the multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from fcan import regions_table
from fcan.localise import reopened
from fcan.regions_table import Crops
from fcan.setup import Plan, map_sensor
from glimpse_env import GlimpseVectorEnv
from glimpse_env.networks import fcan

IMAGES = 8  # that the times are measured on, all at once
TURNS = 3  # the best of them counts


def per_image(plan: Plan, env: GlimpseVectorEnv, crops: Crops) -> dict[str, Any]:
    """Return the costs of finding the parts (map and localisers) and of classifying (one pass a region), and of a pass over the whole."""
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.transforms import v2  # slow to import: see backbone.weights

    count = min(IMAGES, len(env.images))
    index = torch.arange(count, device=env.device)
    network, view = reopened(plan, plan.measure)[1].eval(), env.preset.view_size or plan.image_size
    stored = v2.functional.resize(env.images.images[env.images.stored[:count]].to(env.device), [view, view], antialias=True)
    cutters = [regions_table.sensor_of(crops, env.images, part) for part in (crops.side, *plan.options.parts)]
    middle = [
        fcan.locations(torch.full_like(index, fcan.middle(crops.side, part)), crops.side, part, cutter.reach)
        for part, cutter in zip((crops.side, *plan.options.parts), cutters, strict=True)
    ]

    def find() -> None:
        network.best(crops.backbone.map(stored))

    def classify() -> None:
        for cutter, where in zip(cutters, middle, strict=True):
            cutter.glimpses(index, where)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.best(torch.zeros(1, *map_sensor(env).shape, device=env.device))
    one = crops.backbone.flops(crops.size, crops.size)
    flops = {"whole": one, "find": env.sensor.flops[0] + counter.get_total_flops(), "classify": one * len(cutters)}
    works = {"whole": lambda: cutters[0].glimpses(index, middle[0]), "find": find, "classify": classify}
    stages = {name: {"milliseconds": 1000 * timed(work, env.device) / count, "flops": flops[name]} for name, work in works.items()}
    return {"images": count, "device": str(env.device), "stages": stages}


@torch.no_grad()
def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that some work takes at best, after a turn to warm up."""
    best = float("inf")
    for turn in range(TURNS + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            best = min(best, time.perf_counter() - start)
    return best
