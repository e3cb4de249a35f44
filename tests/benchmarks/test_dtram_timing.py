"""The timing of DT-RAM: who stops when, what is computed then, and the row."""

import dtram_timing
import pytest
import torch
from dtram_timing import Timing
from timing import timed

from glimpse_env import Backbone


def test_stops_follow_the_shares():
    stops = dtram_timing.choose_stops(Timing.shares, dtram_timing.CYCLE)
    assert torch.bincount(stops).tolist() == [0, 9, 4, 7]
    assert stops.double().mean() == pytest.approx(1.9)
    assert dtram_timing.choose_stops((0.0, 1.0), 3).tolist() == [2, 2, 2]


def test_rows_that_have_stopped_are_not_computed(monkeypatch):
    """Two of three rows stop after glimpse 1 and 2: 3 whole views, then 2 crops and 1."""
    shown = []
    forward = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, x: shown.append(tuple(x.shape)) or forward(self, x))
    backbone = Backbone("resnet18", None)
    options = Timing(shares=(0.4, 0.2, 0.4), image_size=64, view_size=48, glimpse_size=32, device="cpu")
    calls = dtram_timing.list_calls(options, backbone, 3)
    shown.clear()
    call, images = calls["DT-RAM, 2.00 glimpses"]
    call()
    assert images == 3
    assert shown == [(3, 3, 48, 48), (2, 3, 32, 32), (1, 3, 32, 32)]
    shown.clear()
    calls["one pass at 64"][0]()
    assert shown == [(3, 3, 64, 64)]


def test_the_row_has_all_contenders(tmp_path, capsys):
    dtram_timing.main(Timing(device="cpu", quick=True, results=tmp_path))
    [row] = timed.read(tmp_path / "dtram_timing.jsonl", ("figures", "hardware", "versions", "settings"))
    assert list(row["figures"]) == ["1", "3"]
    names = ["one pass at 64", "one pass at 48", "stops after 1", "stops after 2", "RAM, 3 glimpses"]
    for figures in row["figures"].values():
        assert list(figures)[:-1] == names
        assert min(figures.values()) > 0
    assert "x one pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shares": (0.5, 0.4)}, "--shares 0.5 0.4: expected shares of at least 0 whose sum is 1"),
        ({"shares": ()}, "--shares : expected shares"),
        ({"batches": ()}, "--batches: expected at least one"),
        ({"batches": (0,)}, "--batches=0: expected a whole number"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        dtram_timing.main(Timing(device="cpu", results=tmp_path, **given))


def test_the_page_has_multiples_of_the_first_pass_beside_the_papers(tmp_path):
    figures = {"1": {"one pass at 512": 50.0, "RAM, 3 glimpses": 60.0}, "20": {"one pass at 512": 40.0}}
    hardware = {"cpu": "AMD EPYC", "cores": 2, "threads": 1, "gpu": None}
    row = {"command": "python x", "figures": figures, "hardware": hardware, "versions": {"torch": "2.15.0"}}
    timed.append(tmp_path / "dtram_timing.jsonl", row | {"settings": {"backbone": "r", "precision": "bf"}})
    page = dtram_timing.format_page(tmp_path)
    assert "| one pass at 512 | 42 (1.00 x) | 50.0 (1.00 x) | 40.0 (1.00 x) |" in page
    assert "| RAM, 3 glimpses | 77 (1.83 x) | 60.0 (1.20 x) |  |" in page
    assert page.endswith("`python x`; r, bf, AMD EPYC (1 thread); torch 2.15.0.")
    assert "makes one" in dtram_timing.format_page(tmp_path / "none")
