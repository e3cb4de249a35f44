"""Rewards: hand-computed values, and sums over an episode that telescope."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glimpse_env import (
    Confidence,
    ConfidenceGain,
    Delayed,
    GlimpseVectorEnv,
    Greedy,
    InformationGain,
    Transition,
    rewards,
)

LN5 = math.log(5)


def transition(
    glimpses: list[int], stop: list[int], correct: list[int], loss: list[float], previous: list[float]
) -> Transition:
    """Write a transition as plain numbers."""
    return Transition(
        torch.tensor(glimpses),
        torch.tensor(stop).bool(),
        torch.tensor(correct).bool(),
        torch.tensor(loss),
        torch.tensor(previous),
    )


# Row 0: first prediction, correct, continues. 1: third, correct, ends. 2: incorrect, ends.
# 3: correct but with a larger loss than before, continues.
FOUR = transition([1, 3, 2, 2], [0, 1, 1, 0], [1, 1, 0, 1], [0.5, 0.1, 2.0, 0.7], [LN5, 0.4, 1.0, 0.3])


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (Delayed(), [0, 1, 0, 0]),
        (Delayed(discount=0.9), [0, 0.729, 0, 0]),
        (Greedy(), [1, 1, 0, 0]),
        (InformationGain(), [LN5 - 0.5, 0.3, -1.0, -0.4]),
        (
            ConfidenceGain(),
            [
                math.exp(-0.5) - 0.2,
                math.exp(-0.1) - math.exp(-0.4),
                math.exp(-2) - math.exp(-1),
                math.exp(-0.7) - math.exp(-0.3),
            ],
        ),
        (rewards.Priced(Delayed(discount=0.9), 0.1), [-0.1, 0.729, 0, -0.1]),
        (Confidence(), [math.exp(-0.5), math.exp(-0.1), math.exp(-2), math.exp(-0.7)]),
    ],
)
def test_values_by_hand(reward: rewards.Reward, expected: list[float]) -> None:
    result = reward(FOUR)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32))


def test_greedy_rewards_a_correct_first_prediction_even_if_its_loss_is_above_chance() -> None:
    assert Greedy()(transition([1, 2], [0, 0], [1, 1], [1.7, 1.7], [LN5, LN5])).tolist() == [1, 0]


def returns(
    make: Callable[..., GlimpseVectorEnv], act: Callable, reward: object, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return each row's sum of rewards over one whole episode, and its last info."""
    env = make(8, reward=reward, autoreset_mode=AutoresetMode.DISABLED)
    _, info = env.reset(seed=seed)
    total = torch.zeros(8)
    for time in range(5):
        _, received, _, _, info = env.step(act(8, seed=100 * seed + time))
        total += received
    return total, info


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_returns_telescope(make: Callable[..., GlimpseVectorEnv], act: Callable, seed: int) -> None:
    gain, info = returns(make, act, "information_gain", seed)
    torch.testing.assert_close(gain, LN5 - info["loss"])
    gain, info = returns(make, act, "confidence_gain", seed)
    torch.testing.assert_close(gain, (-info["loss"]).exp() - 0.2)
    delayed, info = returns(make, act, Delayed(discount=0.5), seed)
    torch.testing.assert_close(delayed, info["correct"] * 0.5 ** info["glimpses"])
    sparse, info = returns(make, act, None, seed)  # the default
    torch.testing.assert_close(sparse, info["correct"].float())


def test_a_users_callable_sees_the_transition(make: Callable[..., GlimpseVectorEnv], act: Callable) -> None:
    observed: list[Transition] = []

    def mine(step: Transition) -> Tensor:
        observed.append(step)
        return -0.01 * step.glimpses

    env = make(3, reward=mine)
    label = env.reset(seed=0)[1]["label"]
    action = act(3, seed=0, stop=[1, 0, 0])
    reward, info = env.step(action)[1], env.step(act(3, seed=1, stop=0))
    torch.testing.assert_close(reward, torch.full((3,), -0.01))
    torch.testing.assert_close(info[1], torch.tensor([0.0, -0.02, -0.02]))  # row 0 starts a new episode: 0
    first, second = observed
    share = action["prediction"] / action["prediction"].sum(1, keepdim=True)
    torch.testing.assert_close(first.loss, -share[torch.arange(3), label].log())
    torch.testing.assert_close(first.previous_loss, torch.full((3,), LN5))
    torch.testing.assert_close(second.previous_loss[1:], first.loss[1:])
    assert first.stop.tolist() == [True, False, False]
    assert second.glimpses[1:].tolist() == [2, 2]


def test_names_and_their_absence() -> None:
    assert {name: type(rewards.make(name)) for name in rewards.NAMED} == {
        "delayed": Delayed,
        "greedy": Greedy,
        "information_gain": InformationGain,
        "confidence_gain": ConfidenceGain,
        "confidence": Confidence,
    }
    assert rewards.make(None) == Delayed()
    with pytest.raises(ValueError, match=r"reward='dense'.*delayed, greedy"):
        rewards.make("dense")


@pytest.mark.usefixtures("unchecked")
def test_a_reward_that_is_neither_name_nor_callable_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reward=\['delayed'\].*callable"):
        rewards.make(["delayed"])


@pytest.mark.parametrize("discount", [0.0, -0.5, 1.5, math.nan])
def test_a_discount_outside_its_range_is_refused(discount: float) -> None:
    with pytest.raises(ValueError, match=f"discount={discount}"):
        Delayed(discount=discount)
