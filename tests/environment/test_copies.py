"""Copies, by `copy.deepcopy` and by pickling, continue the same episodes and share nothing."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import (
    EpisodeStatistics,
    FlatAction,
    FlatSingleAction,
    GlimpseEnv,
    GlimpseVectorEnv,
    NumpyVectorEnv,
)
from glimpse_env.adapters.learned_classifier import LearnedClassifier, Teaching

SMALL = {"image_size": 12, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": 4}
SAME = AutoresetMode.SAME_STEP
TEACHING = Teaching(hidden=8, features=8, depth=1, batch=4, updates=1)  # no update draws a random batch
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


class Pictures:
    """12 images of random pixels, of a class that can be pickled."""

    classes = tuple("abc")

    def __len__(self):
        """Return the number of images."""
        return 12

    def __getitem__(self, index):
        """Return an image and its class."""
        if not 0 <= index < 12:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        return torch.randint(0, 256, (1, 12, 12), dtype=torch.uint8, generator=generator), index % 3


ENVIRONMENTS = {
    "one image": lambda core: GlimpseEnv(Pictures(), **SMALL),
    "one image, flat": lambda core: FlatSingleAction(GlimpseEnv(Pictures(), **SMALL)),
    "gymnasium.make": lambda core: gymnasium.make("GlimpseEnv-v0", dataset=Pictures(), **SMALL),
    "arrays": lambda core: NumpyVectorEnv(3, Pictures(), **SMALL),
    "tensors": lambda core: core(),
    "flat": lambda core: FlatAction(core()),
    "cells": lambda core: FlatAction(core(), "multidiscrete"),
    "statistics": lambda core: EpisodeStatistics(core()),
    "once": lambda core: core(order="once", autoreset_mode=AutoresetMode.DISABLED),
    "learned classifier": lambda core: LearnedClassifier(core(autoreset_mode=SAME), TEACHING),
}


def draw(env, steps):
    """Return actions, the same for all environments with this action space."""
    if hasattr(env, "sample_actions"):
        generator = torch.Generator().manual_seed(0)
        return [env.sample_actions(generator) for _ in range(steps)]
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(steps)]


def play(env, actions):
    """Step through actions, with a new episode where one image's has ended; return every number in turn."""
    results = []
    for action in actions:
        result = env.step(action)
        results += list_values(result)
        if isinstance(result[2], bool) and result[2]:
            results += list_values(env.reset())
    return results + list_values(env.reset())


def list_values(part):
    """Return all arrays, tensors and numbers of a nested result as arrays."""
    if isinstance(part, dict | tuple):
        parts = [part[name] for name in sorted(part)] if isinstance(part, dict) else part
        return [value for one in parts for value in list_values(one)]
    return [part.detach().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_copy_continues_the_same_episodes_and_shares_nothing(name, way):
    torch.manual_seed(0)
    env = ENVIRONMENTS[name](lambda **options: GlimpseVectorEnv(3, Pictures(), **(SMALL | options)))
    env.reset(seed=5)
    actions = draw(env, 14)
    env.step(actions[0])  # copied in the middle of episodes
    other, untouched = COPIES[way](env), COPIES[way](env)
    results = [play(one, actions[1:]) for one in (env, other)]
    assert_same(*results)
    assert_same(results[0], play(untouched, actions[1:]))  # not moved on by the others' steps
    env.close()
    other.reset()  # not closed with it


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_before_the_first_reset_is_a_fresh_environment(make, way):
    env = make(3)
    other = COPIES[way](env)
    assert_same(list_values(env.reset(seed=2)), list_values(other.reset(seed=2)))
    assert_same(play(env, draw(env, 6)), play(other, draw(other, 6)))
