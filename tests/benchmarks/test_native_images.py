"""The benchmark of images of different sizes runs, and names what it cannot measure."""

import native_images
import pytest
from native_images import NativeImages

SMALL = dict(rows=8, size=8, largest=200, side=96, pictures=3, turns=1, seconds=0.01, threads=1)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))


def test_all_are_measured(capsys, tmp_path):
    figures = native_images.main(NativeImages(**SMALL, json=tmp_path / "figures.json"))
    assert min(value for name, value in figures.items() if "memory" not in name) > 0
    assert "own sizes / one size" in capsys.readouterr().out
    assert (tmp_path / "figures.json").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": 0}, "--rows=0: expected a whole number of at least 1"),
        ({"smallest": 300}, "--smallest 300 --largest 200: expected at most as many pixels"),
        ({"pictures": 1}, "--pictures=1: expected a whole number of at least 2"),
    ],
)
def test_bad_options(given, message):
    with pytest.raises(ValueError, match=message):
        native_images.main(NativeImages(**(SMALL | given)))
