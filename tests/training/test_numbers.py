"""Every numeric option of every script: a value outside its range is refused before anything is written."""

import itertools
import math
import types
import typing
from dataclasses import fields

import baselines
import cleanrl_ppo
import dtram_reinforce
import fcan_greedy
import finetune_backbone
import pytest
import ram_reinforce
import rllib_ppo
import sermanet_rnn
from fcan.plan import FcanOptions

from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.commands import predict
from glimpse_env.training.options import RANGES, check_numbers

SCRIPTS = {
    ram_reinforce.main: ram_reinforce.Options,
    dtram_reinforce.main: dtram_reinforce.StopOptions,
    sermanet_rnn.main: sermanet_rnn.SermanetOptions,
    fcan_greedy.main: FcanOptions,
    finetune_backbone.main: finetune_backbone.FinetuneOptions,
    baselines.main: baselines.Baselines,
    cleanrl_ppo.main: cleanrl_ppo.Ppo,
    rllib_ppo.main: rllib_ppo.RllibOptions,
}
ANY_SIGN = ("log_std", "stop_bias")
OWN = ("threads", "parts")  # checked elsewhere: by `use_threads`, and by the scripts that have parts


def find_numbers(kind):
    """Yield name, type and whether it is a tuple of every numeric field of a dataclass of options."""
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        hint = hints[one.name]
        choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        for choice in choices:
            if choice in (int, float):
                yield one.name, choice, False
            elif typing.get_origin(choice) is tuple and typing.get_args(choice)[0] in (int, float):
                yield one.name, typing.get_args(choice)[0], True


def list_cases(kind):
    """Return the fields of a dataclass that hold numbers, each with values that it cannot have.

    The command line takes nothing but whole numbers where a field is of the type int.
    """
    cases = []
    for name, number, several in find_numbers(kind):
        wrong = () if number is int else (math.nan, math.inf, -math.inf)
        wrong += () if name in ANY_SIGN else (-1,)
        cases += [(name, (value,) if several else value) for value in wrong]
    return cases


@pytest.mark.parametrize(("main", "kind"), SCRIPTS.items(), ids=[kind.__name__ for kind in SCRIPTS.values()])
def test_a_number_that_an_option_cannot_have_is_refused_in_a_sentence(main, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = list_cases(kind)
    assert len(cases) > 25
    for name, value in cases:
        with pytest.raises((SystemExit, ValueError)) as refused:
            main(kind(**{"threads": 1, "device": "cpu", "out": tmp_path / "run"} | {name: value}))
        text = str(refused.value)
        assert f"--{name.replace('_', '-')}" in text, (name, value, text)
        assert "expected" in text, (name, value, text)
        assert "\n" not in text
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "kind", [*SCRIPTS.values(), Teaching, predict.Predict], ids=lambda kind: kind.__name__
)
def test_every_numeric_option_has_a_range_and_its_default_is_in_it(kind):
    names = {name for name, _, _ in find_numbers(kind)}
    assert names - set(RANGES) <= set(OWN)
    for name, value in itertools.product(names & set(RANGES), (math.nan, math.inf, "1")):
        assert not RANGES[name].accepts(value), name
    if kind is not predict.Predict:
        check_numbers(kind())


def test_the_learned_classifier_checks_its_own_and_those_of_stable_baselines3():
    pytest.importorskip("stable_baselines3", reason='pip install -e ".[sb3]"')
    import sb3_ppo

    for name, value in list_cases(Teaching):
        with pytest.raises(ValueError, match=f"the classifier's {name}=.*: expected"):
            Teaching(**{name: value})
    kind = sb3_ppo.Sb3Options
    assert {name for name, _, _ in find_numbers(kind)} - set(RANGES) <= set(OWN)
    for name, value in list_cases(kind):
        with pytest.raises((SystemExit, ValueError), match=f"--{name.replace('_', '-')}.*: expected"):
            sb3_ppo.main(kind(**{"threads": 1, "device": "cpu"} | {name: value}))


def test_a_budget_that_no_agent_can_spend_is_refused_before_the_checkpoint_is_read(tmp_path):
    for name, value in list_cases(predict.Predict):
        given = {"checkpoint": tmp_path / "none.pt", "images": (tmp_path,), "threads": 1, "device": "cpu"}
        with pytest.raises((SystemExit, ValueError), match=f"--{name}.*: expected"):
            predict.main(predict.Predict(**given | {name: value}))
