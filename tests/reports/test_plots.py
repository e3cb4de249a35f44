"""The PNG files of a run: valid, with the data in them, and never half written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from glimpse_env.rendering import frames
from glimpse_env.reports import plots

RESULT = {
    "accuracy": 0.9925,
    "mean_glimpses": 2.3,
    "per_step_accuracy": [0.6, 0.9, 0.98, 0.99],
    "threshold_curve": [
        {"threshold": 0.9, "mean_glimpses": 3.0, "accuracy": 0.991},
        {"threshold": 0.5, "mean_glimpses": 1.5, "accuracy": 0.8},
    ],
}
HISTORY = [
    {"epoch": 1, "reward": 0.3, "train_accuracy": 0.5, "mean_glimpses": 5.0, "validation_accuracy": None, "loss": 2.0},
    {"epoch": 2, "reward": 0.6, "train_accuracy": 0.8, "mean_glimpses": 4.0, "loss": 1.0},
    {"epoch": 3, "reward": 0.8, "train_accuracy": 0.9, "mean_glimpses": 3.0, "validation_accuracy": 0.95, "loss": 0.5},
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect every figure that is saved."""
    figures: list[Figure] = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, target: (figures.append(figure), save(figure, target)))
    return figures


def stopped(step: int, right: bool = True) -> tuple[int, bool, frames.Episode]:
    """Return an episode of `step` glimpses at random places of a noise image, answered with class 1."""
    rng = np.random.default_rng(step)
    image = torch.from_numpy(rng.integers(0, 256, (1, 28, 28), np.uint8))
    path, answer = rng.uniform(-1, 1, (step, 2)), np.array([0.0, 1.0, 0.0])
    return step, right, frames.Episode(image, path, (8,), False, answer, ("$a", "b_", "c"), 1 if right else 0)


def points(line: Line2D) -> np.ndarray:
    """Return a curve's points, (point, 2)."""
    return np.asarray(line.get_xydata(), float)


def assert_picture(path: Path) -> None:
    """Assert that the file is a whole PNG with more than one colour, alone in its folder."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.std() > 1
    assert list(path.parent.iterdir()) == [path]


def panels(figure: Figure) -> list[Axes]:
    """Return the visible panels that hold an image."""
    return [axes for axes in figure.axes if axes.images]


def test_learning_curves_show_the_rows_that_have_a_value(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.learning_curves(HISTORY, tmp_path / "curves.png")
    assert_picture(tmp_path / "curves.png")
    loss, reward, error, glimpses = drawn[0].axes
    np.testing.assert_array_equal(points(loss.lines[0]), [[1, 2.0], [2, 1.0], [3, 0.5]])
    np.testing.assert_array_equal(points(reward.lines[0])[:, 1], [0.3, 0.6, 0.8])
    np.testing.assert_array_equal(points(glimpses.lines[0])[:, 1], [5, 4, 3])
    training, validation = error.lines
    np.testing.assert_allclose(points(training)[:, 1], [50, 20, 10])
    np.testing.assert_allclose(points(validation), [[3, 5]])


@pytest.mark.parametrize("history", [[], HISTORY[:1], [{"epoch": 1, "train_accuracy": 1.0}, {"epoch": 2, "train_accuracy": float("nan")}]])
def test_learning_curves_of_a_run_cut_short(history: list[dict[str, float]], tmp_path: Path) -> None:
    plots.learning_curves(history, tmp_path / "curves.png")
    assert_picture(tmp_path / "curves.png")


def test_histogram_bars_are_shares_from_one_glimpse_on(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.stopping_histogram([30, 50, 20], tmp_path / "stops.png", "a $title_")
    assert_picture(tmp_path / "stops.png")
    axes = drawn[0].axes[0]
    assert [(round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in axes.patches] == [(1, 30), (2, 50), (3, 20)]  # type: ignore[attr-defined]
    assert [text.get_text() for text in axes.texts] == ["30", "50", "20"]
    np.testing.assert_allclose(points(axes.lines[0])[:, 0], 1.9)


@pytest.mark.parametrize("histogram", [[0, 0, 0], [7], [1] * 40])
def test_histogram_of_none_one_and_many_steps(histogram: list[int], tmp_path: Path) -> None:
    plots.stopping_histogram(histogram, tmp_path / "stops.png", "stops")
    assert_picture(tmp_path / "stops.png")


def test_error_against_glimpses_holds_the_three_ways_to_stop(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.accuracy_against_glimpses(RESULT | {"agent": "dtram", "dataset": "mnist"}, tmp_path / "error.png")
    assert_picture(tmp_path / "error.png")
    fixed, threshold, learned = drawn[0].axes[0].lines
    np.testing.assert_allclose(points(fixed), [[1, 40], [2, 10], [3, 2], [4, 1]])
    np.testing.assert_allclose(points(threshold), [[1.5, 20], [3, 0.9]])
    np.testing.assert_allclose(points(learned), [[2.3, 0.75]])
    assert drawn[0].axes[0].get_yscale() == "log"


def test_error_against_glimpses_without_an_error_or_a_curve(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.accuracy_against_glimpses(RESULT | {"accuracy": 1.0, "threshold_curve": []}, tmp_path / "error.png")
    assert_picture(tmp_path / "error.png")
    assert drawn[0].axes[0].get_yscale() == "linear"


def test_fixation_paths_are_grouped_by_stopping_step(tmp_path: Path, drawn: list[Figure]) -> None:
    """Given 3, 1, 3, 3 and 1 glimpses and two places a row: two rows of two, by step, each in the order given."""
    plots.fixation_paths([stopped(3), stopped(1), stopped(3, False), stopped(3), stopped(1)], tmp_path / "paths.png", per_group=2)
    assert_picture(tmp_path / "paths.png")
    shown = panels(drawn[0])
    assert [axes.get_ylabel() for axes in shown] == ["stopped at 1", "", "stopped at 3", ""]
    assert [axes.get_title() for axes in shown] == ["b_", "b_", "b_", "b_ (is $a)"]
    frames = [axes.spines["left"].get_edgecolor()[:3] for axes in shown]
    assert frames[0] == frames[1] == frames[2] != frames[3]


def test_fixation_paths_of_no_image(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.fixation_paths([], tmp_path / "paths.png")
    assert_picture(tmp_path / "paths.png")
    assert panels(drawn[0]) == []


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_previous_file_whole(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "stops.png"
    plots.stopping_histogram([1, 2], target, "before")
    before = target.read_bytes()

    def broken(figure: Figure, draft: Path, **_: object) -> None:
        draft.write_bytes(b"half a pict")
        raise failure

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(type(failure)):
        plots.stopping_histogram([3, 4], target, "after")
    assert target.read_bytes() == before
    assert_picture(target)


def test_a_write_replaces_the_previous_file(tmp_path: Path) -> None:
    plots.stopping_histogram([1, 2], tmp_path / "stops.png", "before")
    before = (tmp_path / "stops.png").read_bytes()
    plots.stopping_histogram([3, 4], tmp_path / "stops.png", "after")
    assert (tmp_path / "stops.png").read_bytes() != before
    assert_picture(tmp_path / "stops.png")


def test_no_global_plotting_state_and_no_matplotlib_without_plots() -> None:
    code = "import sys, glimpse_env; assert 'matplotlib' not in sys.modules; from glimpse_env.reports import plots; "
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
