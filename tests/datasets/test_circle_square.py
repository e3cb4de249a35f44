"""The task of ap_gym: shapes at every pixel, their centres, and an environment with relative moves."""

import hashlib

import torch

from glimpse_env import GlimpseVectorEnv
from glimpse_env.datasets import load
from glimpse_env.datasets.generated import circle_square


def test_every_shape_is_in_one_of_the_splits_once():
    parts = [circle_square.load(split) for split in ("train", "test")]
    assert [len(part) for part in parts] == [1176, 392]
    images = torch.cat([part.images for part in parts])
    assert len(images.flatten(1).unique(dim=0)) >= 1560  # in a corner a circle may be a square
    assert len(torch.cat([part.target_centers for part in parts]).unique(dim=0)) == 28**2
    labels = torch.cat([part.labels for part in parts])
    assert labels.bincount().tolist() == [784, 784]


def test_the_shape_is_white_at_its_centre_and_the_ground_darkens_from_there():
    images = circle_square.load("test")
    for index in range(0, len(images), 37):
        x, y = ((images.target_centers[index] + 1) * 14 - 0.5).round().long().tolist()
        grey, label = images.images[index, 0].float(), int(images.labels[index])
        assert grey[y, x] == 255
        axis = torch.arange(28)
        distance = ((axis[:, None] - y).square() + (axis - x).square()).float().sqrt()
        largest = torch.maximum((axis[:, None] - y).abs(), (axis - x).abs())
        inside = (distance if label else largest) <= 4
        assert torch.equal(grey == 255, inside | (distance < 0.05))
        far = ~inside
        expected = (255 * (1 - distance / (28 * 2**0.5))).round()
        torch.testing.assert_close(grey[far], expected[far], atol=1.0, rtol=0)


def test_images_are_those_of_ap_gym():
    """Of version 0.6.0, all 1,176 training images are among its 1,568; this hash is theirs."""
    found = hashlib.sha256(circle_square.load("train").images.numpy().tobytes()).hexdigest()
    assert found == "ebaf2f802f23095aa87e651c07de025571bb28bd292579b6ad6a841eff1dea58"


def test_the_environment_is_that_of_the_task():
    env = GlimpseVectorEnv(8, "circle-square")
    observation, _ = env.reset(seed=0)
    assert observation["glimpse"].shape == (8, 1, 5, 5)
    assert env.preset.max_glimpses == 16
    assert len(observation["location"].unique(dim=0)) == 8  # random
    before = observation["location"]
    observation, *_ = env.step(env.sample_actions() | {"stop": torch.zeros(8, dtype=torch.bool)})
    moved = (observation["location"] - before).norm(dim=1)
    assert (moved <= 0.2 + 1e-6).all()
    assert moved.max() > 0.1
    assert len(load("circle-square", "fit")) == 1078
