"""Translated and cluttered MNIST: what an image holds, new images in every epoch, errors."""

from __future__ import annotations

import hashlib

import gymnasium
import numpy as np
import pytest
import torch

import glimpse_env
from glimpse_env.datasets import load, mnist
from glimpse_env.datasets.generated import canvas_digits
from glimpse_env.datasets.generated.canvas_digits import CanvasComposer
from glimpse_env.training import augment

DIGITS = torch.randint(1, 256, (50, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def test_translated_images_hold_their_digit_at_the_stated_centre():
    images, centers = CanvasComposer(DIGITS, 60).compose(seeded(0))
    assert images.shape == (50, 1, 60, 60)
    corners = ((centers + 1) * 30 - 14).round().long()
    for image, digit, (x, y) in zip(images, DIGITS, corners.tolist(), strict=True):
        assert torch.equal(image[:, y : y + 28, x : x + 28], digit)
        assert image.sum(dtype=torch.int64) == digit.sum(dtype=torch.int64)  # and nothing else
    assert len(corners.unique(dim=0)) > 40


def test_pieces_are_cut_from_other_digits_and_added():
    grey = torch.arange(1, 51, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28)  # one shade each
    composer = CanvasComposer(grey, 60, pieces=4, piece_size=8)
    images, centers = composer.compose(seeded(0))
    corners = ((centers + 1) * 30 - 14).round().long()
    for own, image, (x, y) in zip(grey[:, 0, 0, 0].tolist(), images[:, 0], corners.tolist(), strict=True):
        image = image.int()
        image[y : y + 28, x : x + 28] -= own
        assert image.min() == 0  # the digit is below the pieces, which are added
        alone = {shade for shade, count in zip(*image.unique(return_counts=True), strict=True) if count == 64}
        assert own not in alone
        assert 0 < (image > 0).sum() <= 4 * 64


def test_a_sum_above_white_is_white():
    white = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    images, _ = CanvasComposer(white, 28, pieces=8).compose(seeded(0))
    assert (images == 255).all()


@pytest.mark.parametrize("rest", [1, canvas_digits.CHUNK - 1])
def test_every_chunk_has_its_own_digits(rest: int):
    count = canvas_digits.CHUNK + rest
    digits = (torch.arange(count) % 251 + 1).byte()[:, None, None, None].expand(-1, 1, 28, 28)
    images, _ = CanvasComposer(digits, 30).compose(seeded(0))
    assert torch.equal(images.amax((1, 2, 3)), digits[:, 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "start"),
    [("translated-mnist", "TRANSLATED"), ("cluttered-mnist", "CLUTTERED"), ("cluttered-mnist-100", "LARGE")],
)
def test_the_test_images_are_fixed(name: str, start: str):
    images = load(name, "test")
    assert hashlib.sha256(images.images.numpy().tobytes()).hexdigest()[:16] == HASHES[start]
    assert torch.equal(images.labels, mnist.load("test").labels)
    assert images.target_centers is not None
    assert images.target_centers.abs().max() <= 1


HASHES = {"TRANSLATED": "7930636d5087bf18", "CLUTTERED": "af70ecc03b7abf1c", "LARGE": "b0e1e9985daf76e6"}


def test_environments_show_the_papers_retina():
    env = gymnasium.make("GlimpseEnv-v0", dataset="cluttered-mnist", split="validation")
    observation, info = env.reset(seed=0)
    assert observation["glimpse"].shape == (3, 12, 12)
    assert "target_centers" not in info
    assert not np.array_equal(observation["location"], np.zeros(2, np.float32))  # glimpse 1 is anywhere
    large = glimpse_env.GlimpseVectorEnv(2, "cluttered-mnist-100", split="validation")
    assert large.single_observation_space["glimpse"].shape == (4, 12, 12)
    other = glimpse_env.GlimpseVectorEnv(2, "translated-mnist", split="validation", image_size=40)
    assert other.images.images.shape[-1] == 40


def test_another_set_is_a_function_call():
    made = canvas_digits.load("test", side=50, pieces=2, piece_size=5)
    env = glimpse_env.GlimpseVectorEnv(4, made, glimpse_size=12)
    env.reset(seed=0)
    assert env.images is made
    pixels, label = made[3]
    assert pixels.shape == (1, 50, 50)
    assert label == int(made.labels[3])


def build_env(dataset: object = None) -> glimpse_env.GlimpseVectorEnv:
    """Return an environment of 50 digits."""
    composer = CanvasComposer(DIGITS, 60, pieces=4)
    images, centers = composer.compose(seeded(0))
    made = glimpse_env.datasets.ImageSet(
        images, torch.arange(50) % 10, tuple("0123456789"), centers, composer=composer
    )
    return glimpse_env.GlimpseVectorEnv(8, made if dataset is None else dataset, glimpse_size=12)


def test_every_epoch_shows_new_images_of_the_same_labels():
    env = build_env()
    labels, shown = env.images.labels, []
    for _ in range(2):
        generator = seeded(len(shown))
        augment.renew(env, generator, None)
        observation, _ = env.reset(seed=0)
        shown.append((env.images.images, env.images.target_centers, observation["glimpse"]))
    assert all(not torch.equal(*pair) for pair in zip(*shown, strict=True))
    assert torch.equal(env.images.labels, labels)
    augment.renew(env, seeded(1), None)  # the same seed, the same images
    assert torch.equal(env.images.images, shown[1][0])


def test_augmentation_changes_the_digits_and_not_the_canvas():
    env = build_env()
    augment.renew(env, seeded(3), augment.Changes())
    changed = env.images.images
    augment.renew(env, seeded(3), None)
    assert not torch.equal(changed, env.images.images)


def test_composing_again_needs_generated_images_and_pixels():
    given = glimpse_env.GlimpseVectorEnv(2, "mnist", split="validation")
    with pytest.raises(ValueError, match="not generated"):
        augment.compose(given, seeded(0))
    env = build_env()
    env.sensor = object()
    with pytest.raises(ValueError, match="use the pixel sensor"):
        augment.compose(env, seeded(0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"side": 27}, r"image_size=27: expected at least 28, the side of a digit"),
        ({"side": 0}, r"image_size=0: expected a whole number"),
        ({"side": 2**16}, r"image_size=65536: needs .* GB"),
        ({"pieces": 1, "piece_size": 29}, r"piece_size=29: expected at most 28"),
        ({"pieces": 1, "piece_size": 0}, r"piece_size=0: expected a whole number"),
        ({"pieces": -1}, r"pieces=-1: expected a whole number of at least 0"),
        ({"pieces": 1.5}, r"pieces=1.5: expected a whole number"),
        ({"side": float("nan")}, r"image_size=nan: expected a whole number"),
    ],
)
def test_bad_sizes(unchecked: None, given: dict, message: str):
    with pytest.raises(ValueError, match=message):
        canvas_digits.load("test", **given)


def test_no_digits_and_no_other_digit():
    with pytest.raises(ValueError, match="digits: none given"):
        CanvasComposer(DIGITS[:0], 60)
    with pytest.raises(ValueError, match="no other digit"):
        CanvasComposer(DIGITS[:1], 60, pieces=4)
    with pytest.raises(ValueError, match=r"image_size=20: expected at least 28"):
        glimpse_env.GlimpseVectorEnv(2, "cluttered-mnist", image_size=20)
