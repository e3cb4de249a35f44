"""What the report's gallery shows: correct and incorrect images of every stopping step, and their paths."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation.stopping_rules import choose_rule
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.rendering import frames

MOST = 120  # images
SPACE = 2_000_000  # bytes of their data URIs
SIDE = 384  # pixels that the longer side of a photograph keeps
SMALL = 128  # up to this many pixels a side an image is stored as it is, without loss
BARS = 10  # up to so many classes all get a bar, else
FEW = 6  # those that were most probable at any step, the predicted and the true one among them


def build_gallery(
    env: GlimpseVectorEnv, trajectories: Trajectories, dynamic: bool, most: int = MOST, space: int = SPACE
) -> dict[str, Any]:
    """Return the gallery as plain values, which viewer.js and gallery.js read.

    It holds at most `most` images, with data URIs of at most `space` bytes. `dynamic` = the agent stops by
    its stop head, else after the last glimpse. ValueError if the trajectories were read from a file, which
    does not hold the probabilities.
    """
    if trajectories.probabilities is None:
        raise ValueError(
            "probabilities=None: expected the class probabilities: `evaluate` returns them, files do not"
        )
    stops = choose_rule(dynamic).find_stops(trajectories)
    images: list[dict[str, Any]] = []
    for position in choose_images(trajectories, stops, most):
        source = encode_image(env.images.image(int(trajectories.index[position])))
        space -= len(source)
        if space < 0 and images:
            break
        images.append({"src": source, **describe_image(env, trajectories, position, int(stops[position]))})
    images.sort(key=lambda image: (len(image["path"]), image["number"]))
    used: set[int] = set()
    for image in images:
        used.update(image["bars"], image["predictions"], (image["label"], image["final"]))
    return {
        **describe_agent(env, trajectories, dynamic),
        "mean": (stops + 1).float().mean().item(),
        "names": {str(index): format_class_name(env.images.classes[index]) for index in sorted(used)},
        "groups": count_by_step(trajectories, stops),
        "images": images,
    }


def describe_agent(env: GlimpseVectorEnv, trajectories: Trajectories, dynamic: bool) -> dict[str, Any]:
    """Return what an agent's glimpses are; windows in pixels of the image."""
    height, width = env.images.images.shape[-2:]
    widest = 1.0 if env.preset.zoom is None else env.preset.zoom[1]
    size = env.preset.glimpse_size or round(min(env.sensor.windows) / widest)
    horizon = len(trajectories.predictions)
    ramps = [frames.ramp(steps) for steps in range(1, horizon + 1)]
    return {
        "steps": horizon,
        "dynamic": dynamic,
        "size": [width, height],
        "windows": list(env.sensor.windows),
        "detail": [env.preset.view_size or size, size],  # pixels a side of the whole image, and of a window
        "whole": env.sensor.whole_first,
        "crop": env.preset.first_crop,
        "fill": env.preset.fill,
        "context": env.preset.context,
        "ramps": [["#{:02x}{:02x}{:02x}".format(*colour) for colour in ramp] for ramp in ramps],
    }


def format_class_name(name: str) -> str:
    """Return a class name without number and underscores: 004.Groove_billed_Ani becomes Groove billed Ani."""
    return re.sub(r"^n?\d+[.-](?=\S)", "", frames.clean(name.replace("_", " ")))


def count_by_step(trajectories: Trajectories, stops: Int64[Tensor, " image"]) -> list[dict[str, int]]:
    """Return how many images stopped at each step, and how many of them with a correct prediction."""
    steps = len(trajectories.predictions)
    images = torch.bincount(stops, minlength=steps).tolist()
    correct = torch.bincount(stops[trajectories.correct_at(stops)], minlength=steps).tolist()
    columns = zip(range(1, steps + 1), images, correct, strict=True)
    return [dict(zip(("step", "images", "correct"), row, strict=True)) for row in columns]


def choose_images(trajectories: Trajectories, stops: Int64[Tensor, " image"], most: int) -> list[int]:
    """Return positions of images: in turn one of every step and correctness, in a fixed random order."""
    correct = trajectories.correct_at(stops)
    order = torch.randperm(len(stops), generator=torch.Generator().manual_seed(0))
    cells = [
        order[(stops[order] == step) & (correct[order] == good)].tolist()
        for step in range(len(trajectories.predictions))
        for good in (False, True)
    ]
    turns = (image for turn in zip_longest(*cells) for image in turn if image is not None)
    return list(islice(turns, most))


def describe_image(
    env: GlimpseVectorEnv, trajectories: Trajectories, position: int, last: int
) -> dict[str, Any]:
    """Return one image's trajectory as plain values; `last` = the step (from 0) at which it stopped."""
    assert trajectories.probabilities is not None
    label, predictions = int(trajectories.labels[position]), trajectories.predictions[:, position].tolist()
    probabilities = trajectories.probabilities[: last + 1, position].float()
    bars = choose_classes(probabilities, predictions[last], label)
    path = trajectories.locations[: last + 1, position] * env.sensor.reach
    factors = trajectories.compute_drawn_factors(env)
    narrowed = None if factors is None else round_nested(factors[: last + 1, position].tolist(), 4)
    return {
        "number": int(trajectories.index[position]),
        "label": label,
        "correct": predictions[last] == label,
        "path": round_nested(path.tolist(), 4),
        "factors": narrowed,  # by which zoom narrowed the windows of each glimpse; None without
        "predictions": predictions[: last + 1],
        "stop": round_nested(trajectories.stop[: last + 1, position].tolist(), 3),
        "bars": bars,
        "probabilities": round_nested(probabilities[:, bars].tolist(), 3),
        "final": predictions[-1],  # at the horizon
    }


def choose_classes(probabilities: Tensor, prediction: int, label: int) -> list[int]:
    """Return the classes with a bar at every step: all in order, or those most probable at the end first."""
    classes = probabilities.shape[1]
    if classes <= BARS:
        return list(range(classes))
    chosen = [prediction, label] if prediction != label else [label]
    by_probability = probabilities.max(0).values.argsort(descending=True).tolist()
    chosen += [index for index in by_probability if index not in chosen][: FEW - len(chosen)]
    return sorted(chosen, key=lambda index: -float(probabilities[-1, index]))


def round_nested(values: Sequence[Any], digits: int) -> list[Any]:
    """Return nested lists of numbers, rounded; None for NaN and infinity, which JSON does not have."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return round_nested(value, digits)
        return round(value, digits) if math.isfinite(value) else None

    return [convert(value) for value in values]


def encode_image(image: UInt8[Tensor, "channel height width"]) -> str:
    """Return an image as a data URI: small ones as PNG, photographs smaller and as JPEG."""
    picture = Image.fromarray(frames.to_rgb(image))
    if image.shape[0] < 3:
        picture = picture.convert("L")
    buffer, kind = io.BytesIO(), "png" if max(picture.size) <= SMALL else "jpeg"
    if kind == "jpeg":
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(buffer, kind, optimize=True, quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def describe_selection(gallery: dict[str, Any], total: int) -> str:
    """Return which images are shown, and what is drawn differently from what the agent gets."""
    count = len(gallery["images"])
    text = f"All {total:,} images of the evaluation."
    if count < total:
        text = (
            f"{count} of {total:,} images, taken evenly from every number of glimpses and from correct and "
        )
        text += "incorrect predictions: errors are more frequent here than in the evaluation."
    if gallery["context"]:
        text += " Before its first glimpse the agent saw the whole image at a low resolution."
    if gallery["fill"] != "zero":
        filled = "noise" if gallery["fill"] == "noise" else "its mirror image"
        text += f" What lies beyond the image is drawn grey; the agent sees {filled} there."
    return text
