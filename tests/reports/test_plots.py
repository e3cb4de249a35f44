"""The PNG files of a run: valid, with the data in them, and written atomically."""

import io
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
from glimpse_env.reports import fixation_figures, plots

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
    {"epoch": 1, "reward": 0.3, "train_accuracy": 0.5, "mean_glimpses": 5.0, "loss": 2.0},
    {"epoch": 2, "reward": 0.6, "train_accuracy": 0.8, "mean_glimpses": 4.0, "loss": 1.0},
    {"epoch": 3, "reward": 0.8, "train_accuracy": 0.9, "mean_glimpses": 3.0, "loss": 0.5},
]
HISTORY[0]["validation_accuracy"], HISTORY[2]["validation_accuracy"] = None, 0.95


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect every figure that is saved."""
    figures: list[Figure] = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, target: (figures.append(figure), save(figure, target)))
    return figures


def stopped(step: int, correct: bool = True) -> tuple[int, bool, frames.Episode]:
    """Return an episode of `step` glimpses at random locations of a noise image, with class 1 predicted."""
    rng = np.random.default_rng(step)
    image = torch.from_numpy(rng.integers(0, 256, (1, 28, 28), np.uint8))
    path, prediction = rng.uniform(-1, 1, (step, 2)), np.array([0.0, 1.0, 0.0])
    label = 1 if correct else 0
    return step, correct, frames.Episode(image, path, (8,), False, prediction, ("$a", "b_", "c"), label)


def groups(images: list[int], correct: list[int]) -> list[dict[str, int]]:
    """Return how many images stopped at each step."""
    pairs = enumerate(zip(images, correct, strict=True), start=1)
    return [{"step": step, "images": total, "correct": part} for step, (total, part) in pairs]


def write_bars(target: Path, title: str) -> None:
    """Write a small chart."""
    plots.write_chart(target, title, plots.draw_stopping_histogram, groups([1, 2], [1, 1]))


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
    plots.write_learning_curves(HISTORY, tmp_path / "curves.png")
    assert_picture(tmp_path / "curves.png")
    loss, reward, error, glimpses = drawn[0].axes
    np.testing.assert_array_equal(points(loss.lines[0]), [[1, 2.0], [2, 1.0], [3, 0.5]])
    np.testing.assert_array_equal(points(reward.lines[0])[:, 1], [0.3, 0.6, 0.8])
    np.testing.assert_array_equal(points(glimpses.lines[0])[:, 1], [5, 4, 3])
    training, validation = error.lines
    np.testing.assert_allclose(points(training)[:, 1], [50, 20, 10])
    np.testing.assert_allclose(points(validation), [[3, 5]])


@pytest.mark.parametrize(
    "history",
    [[], HISTORY[:1], [{"epoch": 1, "train_accuracy": 1.0}, {"epoch": 2, "train_accuracy": float("nan")}]],
)
def test_learning_curves_of_a_run_cut_short(history: list[dict[str, float]], tmp_path: Path) -> None:
    plots.write_learning_curves(history, tmp_path / "curves.png")
    assert_picture(tmp_path / "curves.png")


def test_histogram_bars_are_shares_from_one_glimpse_on(tmp_path: Path, drawn: list[Figure]) -> None:
    target, images = tmp_path / "stops.png", groups([30, 50, 20], [30, 40, 0])
    plots.write_chart(target, "a $title_", plots.draw_stopping_histogram, images)
    assert_picture(target)
    axes = drawn[0].axes[0]
    bars = [(round(bar.get_x() + bar.get_width() / 2), bar.get_y(), bar.get_height()) for bar in axes.patches]  # type: ignore[attr-defined]
    assert bars[:3] == [(1, 0, 30), (2, 0, 40), (3, 0, 0)]  # correct
    assert bars[3:6] == [(1, 30, 0), (2, 40, 10), (3, 0, 20)]  # incorrect, on top
    assert [bar.get_gid() for bar in axes.patches[6:]][1] == "2: 50 images, 40 correct (80.0 %)"
    assert [text.get_text() for text in axes.texts] == ["30", "50", "20"]
    np.testing.assert_allclose(points(axes.lines[0])[:, 0], 1.9)


@pytest.mark.parametrize("histogram", [[0, 0, 0], [7], [1] * 40])
def test_histogram_of_none_one_and_many_steps(histogram: list[int], tmp_path: Path) -> None:
    target = tmp_path / "stops.png"
    plots.write_chart(target, "stops", plots.draw_stopping_histogram, groups(histogram, histogram))
    assert_picture(target)


def test_epochs_count_through_the_stages_whose_ends_are_marked(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"stage": "look", "loss": 2.0}, {"stage": "look", "loss": 1.0}, {"stage": "stop", "loss": 0.5}]
    plots.write_chart(tmp_path / "loss.png", "loss", plots.draw_learning_curves, rows, "Loss")
    [axes] = drawn[0].axes
    loss, change = axes.lines
    np.testing.assert_array_equal(points(loss), [[1, 2], [2, 1], [3, 0.5]])
    assert points(change)[:, 0].tolist() == [2.5, 2.5]
    assert [text.get_text() for text in axes.texts] == ["look", "stop"]


def test_error_against_glimpses_holds_the_three_ways_to_stop(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.write_chart(tmp_path / "error.png", "dtram on mnist", plots.draw_error_against_glimpses, RESULT)
    assert_picture(tmp_path / "error.png")
    fixed, threshold, learned = drawn[0].axes[0].lines
    np.testing.assert_allclose(points(fixed), [[1, 40], [2, 10], [3, 2], [4, 1]])
    np.testing.assert_allclose(points(threshold), [[1.5, 20], [3, 0.9]])
    np.testing.assert_allclose(points(learned), [[2.3, 0.75]])
    assert drawn[0].axes[0].get_yscale() == "log"


def test_error_against_glimpses_without_an_error_or_a_curve(tmp_path: Path, drawn: list[Figure]) -> None:
    result = RESULT | {"accuracy": 1.0, "threshold_curve": []}
    plots.write_chart(tmp_path / "error.png", "error", plots.draw_error_against_glimpses, result)
    assert_picture(tmp_path / "error.png")
    assert drawn[0].axes[0].get_yscale() == "linear"


def test_fixation_paths_are_grouped_by_stopping_step(tmp_path: Path, drawn: list[Figure]) -> None:
    """Given 3, 1, 3, 3 and 1 glimpses and two images a row: two rows of two, by step, in the given order."""
    episodes = [stopped(3), stopped(1), stopped(3, False), stopped(3), stopped(1)]
    fixation_figures.write_fixation_paths(episodes, tmp_path / "paths.png", per_group=2)
    assert_picture(tmp_path / "paths.png")
    shown = panels(drawn[0])
    assert [axes.get_ylabel() for axes in shown] == ["stopped at 1", "", "stopped at 3", ""]
    assert [axes.get_title() for axes in shown] == ["b_", "b_", "b_", "b_ (is $a)"]
    frames = [axes.spines["left"].get_edgecolor()[:3] for axes in shown]
    assert frames[0] == frames[1] == frames[2] != frames[3]


def test_fixation_paths_of_no_image(tmp_path: Path, drawn: list[Figure]) -> None:
    fixation_figures.write_fixation_paths([], tmp_path / "paths.png")
    assert_picture(tmp_path / "paths.png")
    assert panels(drawn[0]) == []


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_previous_file_whole(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "stops.png"
    write_bars(target, "before")
    before = target.read_bytes()

    def broken(figure: Figure, file: io.BytesIO, **_: object) -> None:
        file.write(b"half a pict")
        raise failure

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(type(failure)):
        write_bars(target, "after")
    assert target.read_bytes() == before
    assert_picture(target)


def test_a_write_replaces_the_previous_file(tmp_path: Path) -> None:
    write_bars(tmp_path / "stops.png", "before")
    before = (tmp_path / "stops.png").read_bytes()
    write_bars(tmp_path / "stops.png", "after")
    assert (tmp_path / "stops.png").read_bytes() != before
    assert_picture(tmp_path / "stops.png")


def test_no_global_plotting_state_and_no_matplotlib_without_plots() -> None:
    code = "import sys, glimpse_env; assert 'matplotlib' not in sys.modules; "
    code += "from glimpse_env.reports import plots; assert 'matplotlib.pyplot' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
