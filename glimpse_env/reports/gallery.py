"""What the report's gallery shows: some images of every stopping step, right and wrong ones, each with its trajectory."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from glimpse_env import GlimpseVectorEnv
from glimpse_env.evaluation import trajectories
from glimpse_env.rendering import frames

MOST = 120  # images
SPACE = 2_000_000  # bytes of their data URIs
SIDE = 384  # pixels that the longer side of a photograph keeps
SMALL = 128  # up to this many pixels a side an image is stored as it is, without loss
BARS = 10  # up to so many classes all get a bar, else
FEW = 6  # those that were most probable at any step, the answer and the true one among them


def content(env: GlimpseVectorEnv, looks: trajectories.Looks, dynamic: bool, most: int = MOST, space: int = SPACE) -> dict[str, Any]:
    """Return the gallery as plain values.

    Args:
        env: The environment of the evaluation.
        looks: Every image's trajectory, with the probabilities of the classes.
        dynamic: The agent stops by its stop head, else it looks to the last glimpse.
        most: Images at most.
        space: Bytes that their data URIs may take.

    Raises:
        ValueError: The trajectories come from a file, which does not hold the probabilities.
    """
    if looks.shares is None:
        raise ValueError("looks.shares is None: expected the class probabilities, which evaluation.look returns and files leave out")
    when = trajectories.answered(looks, dynamic)
    shown: list[dict[str, Any]] = []
    for position in candidates(looks, when, most):
        source = data_uri(env.images.image(int(looks.index[position])))
        space -= len(source)
        if space < 0 and shown:
            break
        shown.append({"src": source, **trajectory(env, looks, position, int(when[position]))})
    shown.sort(key=lambda image: (len(image["path"]), image["number"]))
    used = sorted({index for image in shown for index in (*image["bars"], image["label"], image["last"], *image["says"])})
    return {
        **sight(env, looks, dynamic),
        "mean": (when + 1).float().mean().item(),
        "names": {str(index): spoken(env.images.classes[index]) for index in used},
        "groups": groups(looks, when),
        "images": shown,
    }


def sight(env: GlimpseVectorEnv, looks: trajectories.Looks, dynamic: bool) -> dict[str, Any]:
    """Return how this agent looks; windows in pixels of the image."""
    height, width = env.images.images.shape[-2:]
    size = env.preset.glimpse_size or min(env.sensor.windows)
    return {
        "steps": len(looks.answers),
        "dynamic": dynamic,
        "size": [width, height],
        "windows": list(env.sensor.windows),
        "detail": [env.preset.view_size or size, size],  # pixels a side that the agent gets of the whole image, of a window
        "whole": env.sensor.whole_first,
        "fill": env.preset.fill,
        "context": env.preset.context,
        "ramps": [["#%02x%02x%02x" % colour for colour in frames.ramp(steps + 1)] for steps in range(len(looks.answers))],  # noqa: UP031 - hex
    }


def spoken(name: str) -> str:
    """Return a class name as people write it: 004.Groove_billed_Ani and n02085620-Chihuahua without their numbers and underscores."""
    plain = frames.clean(name.replace("_", " "))
    return re.sub(r"^n?\d+[.-](?=\S)", "", plain)


def groups(looks: trajectories.Looks, when: Int64[Tensor, " image"]) -> list[dict[str, int]]:
    """Return how many images of the whole evaluation were answered at each step, and how many of them rightly."""
    right = looks.correct.gather(0, when[None])[0]
    return [
        {"step": step + 1, "images": int((when == step).sum()), "right": int((right & (when == step)).sum())}
        for step in range(len(looks.answers))
    ]


def candidates(looks: trajectories.Looks, when: Int64[Tensor, " image"], most: int) -> list[int]:
    """Return images in the order in which they are taken: turn by turn one of every step, right and wrong, from a fixed draw."""
    right = looks.correct.gather(0, when[None])[0]
    order = torch.randperm(len(when), generator=torch.Generator().manual_seed(0))
    cells = [order[(when[order] == step) & (right[order] == good)].tolist() for step in range(len(looks.answers)) for good in (False, True)]
    turns = (image for turn in zip_longest(*cells) for image in turn if image is not None)
    return [image for _, image in zip(range(most), turns, strict=False)]


def trajectory(env: GlimpseVectorEnv, looks: trajectories.Looks, position: int, last: int) -> dict[str, Any]:
    """Return what happened on one image; `last` = the step (from 0) of its answer."""
    assert looks.shares is not None
    label, answers = int(looks.labels[position]), looks.answers[:, position].tolist()
    shares = looks.shares[: last + 1, position].float()
    bars = chosen_bars(shares, answers[last], label)
    places = looks.locations[: last + 1, position] * env.sensor.reach
    return {
        "number": int(looks.index[position]),
        "label": label,
        "right": answers[last] == label,
        "path": rounded(places.tolist(), 4),
        "says": answers[: last + 1],
        "stop": rounded(looks.stop[: last + 1, position].tolist(), 3),
        "bars": bars,
        "shares": rounded(shares[:, bars].tolist(), 3),
        "last": answers[-1],  # had it looked to the horizon
    }


def chosen_bars(shares: Tensor, answer: int, label: int) -> list[int]:
    """Return the classes that get a bar, the same at every step: all in their order, or the most probable at the end first."""
    classes = shares.shape[1]
    if classes <= BARS:
        return list(range(classes))
    wanted = [answer, label] if answer != label else [label]
    wanted += [index for index in shares.max(0).values.argsort(descending=True).tolist() if index not in wanted][: FEW - len(wanted)]
    return sorted(wanted, key=lambda index: -float(shares[-1, index]))


def rounded(values: Sequence[Any], digits: int) -> list[Any]:
    """Return nested lists of numbers with so many digits after the point; None for what is no number, as a run that diverged leaves."""
    return [
        rounded(value, digits) if isinstance(value, list) else round(value, digits) if math.isfinite(value) else None for value in values
    ]


def data_uri(image: UInt8[Tensor, "channel height width"]) -> str:
    """Return an image as a data URI: small ones as PNG, photographs smaller and as JPEG."""
    picture = Image.fromarray(frames.to_rgb(image))
    if image.shape[0] < 3:
        picture = picture.convert("L")
    buffer = io.BytesIO()
    if max(picture.size) <= SMALL:
        picture.save(buffer, "png", optimize=True)
        return encoded(buffer.getvalue(), "png")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(buffer, "jpeg", quality=80, optimize=True)
    return encoded(buffer.getvalue(), "jpeg")


def encoded(content: bytes, kind: str) -> str:
    """Return a picture file's content as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def described(shown: dict[str, Any], total: int) -> str:
    """Return the sentences that say which images are shown, and what is not drawn as the agent sees it."""
    count = len(shown["images"])
    told = f"All {total:,} images of the evaluation."
    if count < total:
        told = f"{count} of {total:,} images, taken evenly from every number of glimpses and from right and wrong answers: errors are more "
        told += "frequent here than in the evaluation."
    if shown["context"]:
        told += " Before its first glimpse the agent saw the whole image, small."
    if shown["fill"] != "zero":
        filled = "noise" if shown["fill"] == "noise" else "its mirror image"
        told += f" What lies beyond the image is drawn grey; the agent sees {filled} there."
    return told
