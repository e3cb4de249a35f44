"""The benchmark of compiled steps runs; nothing is compiled here, which takes longer."""

import functools

import compiled
import pytest
import torch
from compiled import Compiled
from timing import captured

SMALL = dict(rows=(4,), turns=1, seconds=0.005, updates=1, threads=1, device="cpu")


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Compile nothing, and take few images for the sensors that run a network."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(compiled, "IMAGES", 4)
    monkeypatch.setitem(compiled.NETWORK, "image_size", 32)
    small = functools.partial(captured.Options, glimpses=2, batch=8, hidden=8, features=8)
    monkeypatch.setattr(compiled.captured, "Options", small)


def test_every_sensor_and_an_update_are_measured(capsys, tmp_path, monkeypatch):
    few = {name: compiled.SENSORS[name] for name in ("pixel, 1 window (mnist)", "bank, ResNet-18")}
    monkeypatch.setattr(compiled, "SENSORS", few)
    compiled.main(Compiled(**SMALL, json=tmp_path / "figures.json"))
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*few, "RAM's update, MNIST", "--compile", "whole"))
    assert (tmp_path / "figures.json").is_file()
