"""Actions, options and states that no environment can use: refused with their value, and nothing changes."""

import copy

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.learned_classifier import LearnedClassifier, Teaching
from glimpse_env.env import GlimpseEnv, NumpyVectorEnv
from glimpse_env.wrappers.flat import FlatAction
from glimpse_env.wrappers.statistics import EpisodeStatistics

DATA = [(np.full((8, 8), 31 * index % 256, np.uint8), index % 3) for index in range(7)]
NAN = float("nan")


def array_action(rows=(), **changes):
    prediction = np.full((*rows, 3), 1 / 3)
    return {"location": np.zeros((*rows, 2)), "stop": np.zeros(rows, int), "prediction": prediction} | changes


def tensor_action(**changes):
    action = {name: torch.from_numpy(value) for name, value in array_action((3,)).items()}
    return action | changes


def state_of(core):
    return copy.deepcopy(core.state_dict())


def same(one, other):
    return one["np_random"] == other["np_random"] and all(
        torch.equal(value, other["state"][name]) for name, value in one["state"].items()
    )


class Raises:
    """An array that cannot be made."""

    def __array__(self, *arguments, **options):
        """Fail, as an object that loads lazily may."""
        raise KeyError("no pixels")


class Nameless:
    """An object that cannot be shown."""

    def __repr__(self):
        """Fail."""
        raise RuntimeError("no name")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (np.ma.masked_greater([0.0, 0.5], 0.2), ValueError, "masked"),
        (np.ma.masked_all(2), ValueError, "masked"),
        (Raises(), TypeError, "expected an array .*no pixels"),
        (Nameless(), ValueError, "Nameless without a repr"),
        ("left", ValueError, "'left'"),
        (None, ValueError, r"shape \(2,\), got \(\): None"),
        ([10**5000, 0], TypeError, "object"),
        (np.array([True, False]), TypeError, "bool.*True"),
    ],
)
def test_what_is_no_location_is_refused_with_its_value(value, kind, message):
    env = GlimpseEnv(DATA)
    env.reset(seed=0)
    before = state_of(env.core)
    with pytest.raises(kind, match=rf"action\['location'\].*{message}"):
        env.step(array_action(location=value))
    assert same(before, state_of(env.core))


@pytest.mark.parametrize("name", ["indices", "locations"])
def test_masked_options_are_refused(name):
    env = NumpyVectorEnv(3, DATA)
    env.reset(seed=0)
    before = state_of(env.core)
    values = {"indices": np.ma.masked_less([0, 1, 2], 1), "locations": np.ma.masked_all((3, 2))}
    with pytest.raises(ValueError, match=rf"options\['{name}'\].*masked"):
        env.reset(options={name: values[name]})
    assert same(before, state_of(env.core))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"location": torch.tensor([[0, 0], [0, NAN], [0, 0]])}, ValueError, "location.*got nan"),
        ({"prediction": torch.full((3, 3), NAN)}, ValueError, "prediction.*got nan"),
        ({"location": torch.zeros(3, 2).to_sparse()}, TypeError, "location.*dense.*sparse_coo"),
        ({"location": torch.zeros(3, 2).to(torch.float8_e4m3fn)}, TypeError, "location.*float8"),
        ({"stop": torch.zeros(3, dtype=torch.complex64)}, TypeError, "stop.*complex64"),
        ({"location": [[0.0, 0.5]]}, TypeError, r"location.*list: \[\[0.0, 0.5\]\]"),
    ],
)
@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.usefixtures("unchecked")
def test_tensors_without_a_meaning_are_refused_on_the_cpu(change, kind, message, validate):
    env = GlimpseVectorEnv(3, DATA, validate=validate)
    env.reset(seed=0)
    before = state_of(env)
    with pytest.raises(kind, match=message):
        env.step(tensor_action(**change))
    assert same(before, state_of(env))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"locations": torch.full((3, 2), NAN)}, ValueError, "locations.*got nan"),
        ({"indices": torch.ones(3, dtype=torch.bool)}, TypeError, "indices.*integer.*bool"),
    ],
)
def test_options_without_a_meaning_are_refused(options, kind, message):
    env = GlimpseVectorEnv(3, DATA)
    env.reset(seed=0)
    before = state_of(env)
    with pytest.raises(kind, match=message):
        env.reset(options=options)
    assert same(before, state_of(env))


def change_state(saved, **changes):
    return saved | {"state": saved["state"] | changes}


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda saved: None, ValueError, "state_dict.*NoneType"),
        (lambda saved: [1], ValueError, r"state_dict.*list: \[1\]"),
        (lambda saved: saved | {"state": 5}, TypeError, r"state_dict\['state'\]=5"),
        (lambda saved: saved | {"seed": "a"}, ValueError, "seed.*'a'"),
        (lambda saved: saved | {"np_random": {"bit_generator": "MT19937"}}, ValueError, "MT19937.*PCG64"),
        (lambda saved: change_state(saved, step=torch.full((3,), 100)), ValueError, "steps.*100"),
        (lambda saved: change_state(saved, index=torch.zeros(3)), TypeError, "index.*float32"),
        (lambda saved: change_state(saved, location=torch.zeros(2, 2)), ValueError, r"location.*\(2, 2\)"),
        (lambda saved: change_state(saved, location=torch.full((3, 2), NAN)), ValueError, "locations.*nan"),
        (lambda saved: change_state(saved, label=(saved["state"]["label"] + 1) % 3), ValueError, "labels"),
        (lambda saved: change_state(saved, done=np.zeros(3, bool)), TypeError, "done.*ndarray"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil, kind, message):
    env = GlimpseVectorEnv(3, DATA)
    env.reset(seed=0)
    before = state_of(env)
    with pytest.raises(kind, match=message):
        env.load_state_dict(spoil(state_of(env)))
    assert same(before, state_of(env))


def test_statistics_of_another_window_are_refused_and_change_nothing():
    env, other = (EpisodeStatistics(GlimpseVectorEnv(3, DATA), window) for window in (5, 6))
    env.reset(seed=0)
    other.reset(seed=1)
    before = state_of(env.unwrapped)
    with pytest.raises(ValueError, match=r"_last_returns.*\(6,\), got \(7,\)"):
        env.load_state_dict(other.state_dict())
    assert same(before, state_of(env.unwrapped))


def test_a_huge_cell_is_named_as_it_was_given():
    env = FlatAction(NumpyVectorEnv(3, DATA), "multidiscrete")
    env.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"\(cell\): expected values in \[0, 24\], got .*18446744073709551615"
    ):
        env.step(np.full((3, 3), 2**64 - 1, np.uint64))


def test_a_learned_classifier_refuses_a_step_before_reset_and_layers_without_end():
    core = GlimpseVectorEnv(3, DATA, autoreset_mode=AutoresetMode.SAME_STEP)
    env = LearnedClassifier(core, Teaching(hidden=4, features=4))
    with pytest.raises(RuntimeError, match="before reset"):
        env.step(torch.zeros(3, 3))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"location.*got nan"):
        env.step(torch.full((3, 3), NAN))
    with pytest.raises(ValueError, match=r"depth=1048576: .* at most 1024"):
        Teaching(depth=2**20)
    with pytest.raises(ValueError, match=r"hidden=1048576.*needs .* GB"):
        LearnedClassifier(core, Teaching(hidden=2**20))
