"""Pictures of an episode show what happened, where it happened, at one size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glimpse_env import retina
from glimpse_env.rendering import frames

DIGITS = tuple("0123456789")


def episode(**changes: object) -> frames.Episode:
    """Return one glimpse, 8 pixels wide, at the centre of a black 28 x 28 image, before any answer."""
    fields: dict[str, object] = {
        "image": torch.zeros(1, 28, 28, dtype=torch.uint8),
        "path": np.zeros((1, 2), np.float32),
        "windows": (8,),
        "whole_first": False,
        "prediction": None,
        "classes": DIGITS,
        "label": 3,
    }
    return frames.Episode(**(fields | changes))  # type: ignore[arg-type]


def painted(view: frames.Episode) -> np.ndarray:
    """Return the box (left, top, right, bottom), in the image's pixels, around what is drawn on the image."""
    drawn = frames.draw_image(view).astype(int)
    bare, zoom, margin = frames.enlarge(view.image, max(view.windows))
    rows, columns = np.nonzero(np.abs(drawn - np.asarray(bare)).sum(2))
    return (np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - margin) / zoom


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (3, 96, 96), (3, 224, 224), (1, 37, 101), (3, 500, 333), (2, 1, 1), (1, 7, 900)]
)
def test_size_is_fixed_even_and_modest_over_an_episode(shape: tuple[int, int, int]) -> None:
    image = torch.zeros(shape, dtype=torch.uint8)
    locations = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    answers = [None, np.zeros(10), np.eye(10)[3], np.full(10, 0.1)]
    pictures = [
        frames.draw(episode(image=image, path=locations[:t], prediction=answers[t % 4])) for t in range(1, 13)
    ]
    assert {picture.shape for picture in pictures} == {pictures[0].shape}
    height, width, channels = pictures[0].shape
    assert (height % 2, width % 2, channels, pictures[0].dtype) == (0, 0, 3, np.uint8)
    assert 256 <= max(height, width - frames.PANEL) <= 420


@pytest.mark.parametrize("location", [(0.0, 0.0), (-0.5, 0.25), (0.6, -0.6), (13 / 14, 13 / 14)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 40, 20), (3, 224, 224)])
def test_box_lies_where_the_glimpse_is(location: tuple[float, float], shape: tuple[int, int, int]) -> None:
    height, width = shape[1:]
    window = max(height, width) // 5
    view = episode(image=torch.zeros(shape, dtype=torch.uint8), path=np.array([location]), windows=(window,))
    centre = (np.array(location) + 1) * (width, height) / 2
    box = [*(centre - window / 2), *(centre + window / 2)]
    np.testing.assert_allclose(painted(view), box, atol=2 * max(height, width) / frames.SIDE)


def test_box_frames_exactly_the_pixels_that_the_retina_cuts_out() -> None:
    """A white square of 8 pixels and the glimpse that sees nothing else: the box lies on its edge."""
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[:, 4:12, 16:24] = 255
    location = torch.tensor([[20.0, 8.0]]) / 14 - 1
    canvas = retina.paint(image[None], 4)
    assert (retina.glimpse(canvas, torch.zeros(1, dtype=torch.int64), location, 8, (8,)) == 1).all()
    np.testing.assert_allclose(
        painted(episode(image=image, path=location.numpy())), [16, 4, 24, 12], atol=0.2
    )


def test_every_scale_gets_a_box_and_the_widest_bounds_the_drawing() -> None:
    np.testing.assert_allclose(painted(episode(windows=(8, 16))), [6, 6, 22, 22], atol=0.2)
    one, two = (frames.draw_image(episode(windows=windows)).astype(int) for windows in ((16,), (8, 16)))
    rows, columns = np.nonzero(np.abs(one - two).sum(2))
    _, zoom, margin = frames.enlarge(episode().image, 16)
    np.testing.assert_allclose((np.array([columns.min(), rows.min()]) - margin) / zoom, 10, atol=0.2)
    np.testing.assert_allclose((np.array([columns.max() + 1, rows.max() + 1]) - margin) / zoom, 18, atol=0.2)


def test_a_whole_first_view_frames_the_image_wherever_its_location_says() -> None:
    here, there = (episode(path=np.full((1, 2), location), whole_first=True) for location in (0.0, 0.7))
    np.testing.assert_allclose(painted(here), [0, 0, 28, 28], atol=0.2)
    np.testing.assert_array_equal(frames.draw(here), frames.draw(there))
    middle = frames.draw_image(here)[150:250, 150:250]
    assert (middle == 0).all(), "nothing was fixated: the image stays bare"


def test_no_line_leads_from_a_whole_first_view_to_the_first_fixation() -> None:
    path = np.array([[0.0, 0.0], [0.6, 0.6]])
    middle = (slice(185, 205), slice(185, 205))
    assert (frames.draw_image(episode(path=path, whole_first=True))[middle] == 0).all()
    assert (frames.draw_image(episode(path=path))[middle] != 0).any()


def test_the_last_glimpse_stands_out() -> None:
    """Of two glimpses side by side, the later one's box covers more pixels, in the ramp's last colour."""
    view = frames.draw_image(episode(path=np.array([[-0.5, 0.0], [0.5, 0.0]])))
    first, last = ((view == colour).all(2).sum() for colour in frames.ramp(2))
    assert last > 1.5 * first > 0


def test_grey_and_rgb_images_keep_their_colours() -> None:
    value = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(
        frames.draw(episode(image=value)), frames.draw(episode(image=value.expand(3, -1, -1)))
    )
    red = torch.zeros(3, 28, 28, dtype=torch.uint8)
    red[0] = 200
    assert (frames.draw_image(episode(image=red))[80, 80] == (200, 0, 0)).all()


def test_an_all_zero_answer_is_drawn_as_uniform_and_scores_are_divided_by_their_sum() -> None:
    zero, uniform, none = (
        frames.draw(episode(prediction=value)) for value in (np.zeros(10), np.full(10, 0.1), None)
    )
    np.testing.assert_array_equal(zero, uniform)
    assert (zero != none).any()
    scores = np.arange(10, dtype=np.float32) / 10
    np.testing.assert_array_equal(
        frames.draw(episode(prediction=scores)), frames.draw(episode(prediction=scores / scores.sum()))
    )


def test_a_larger_probability_is_a_longer_bar() -> None:
    lengths = []
    before = (frames.draw(episode()) == frames.TRUE_BAR).all(
        2
    )  # the class's name and mark have the bar's colour
    for share in (0.1, 0.4, 0.9):
        answer = np.full(10, (1 - share) / 9)
        answer[3] = share
        after = (frames.draw(episode(prediction=answer)) == frames.TRUE_BAR).all(2)
        lengths.append((after & ~before).sum(1).max())
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] / lengths[0] == pytest.approx(9, rel=0.1)


def test_of_many_classes_the_most_probable_and_the_true_one_are_shown() -> None:
    names = tuple(f"{index:03d}. a\nvery long name of a bird, number {index}" for index in range(200))
    scores = np.linspace(0, 1, 200)
    view = episode(classes=names, prediction=scores, label=7)
    assert frames.choose_bars(view) == [199, 198, 197, 196, 195, 194, 193, 192, 191, 7]
    assert frames.choose_bars(replace(view, label=195)) == list(range(199, 189, -1))
    assert frames.choose_bars(replace(view, prediction=None, label=2)) == list(range(10))
    assert frames.draw(view).shape == frames.draw(replace(view, prediction=None)).shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": torch.zeros(1, 28, 28)}, "uint8"),
        ({"image": torch.zeros(28, 28, dtype=torch.uint8)}, r"\(28, 28\)"),
        ({"path": np.zeros((0, 2))}, "at least one glimpse"),
        ({"path": np.zeros(2)}, r"\(2,\)"),
        ({"label": 10}, "label=10"),
        ({"prediction": np.zeros(9)}, r"\(10,\), got \(9,\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_drawn_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        episode(**changes)


def test_drawing_a_digit_again_gives_the_same_and_leaves_the_episode_alone() -> None:
    image = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    path, prediction = np.random.default_rng(0).uniform(-1, 1, (7, 2)), np.full(10, 0.5)
    view, before = (
        episode(image=image, path=path, prediction=prediction),
        (image.clone(), path.copy(), prediction.copy()),
    )
    np.testing.assert_array_equal(frames.draw(view), frames.draw(view))
    for now, then in zip((image, path, prediction), before, strict=True):
        np.testing.assert_array_equal(np.asarray(now), np.asarray(then))


def test_without_a_true_class_the_answer_is_named_and_no_bar_is_marked() -> None:
    shares = np.full(10, 0.05)
    shares[7] = 0.55
    known, unknown = (frames.draw(episode(prediction=shares, label=label)) for label in (7, None))
    green = [(picture == frames.TRUE_BAR).all(2).any() for picture in (known, unknown)]
    assert green == [True, False]
    assert (
        frames.choose_bars(
            episode(classes=tuple(map(str, range(12))), prediction=np.eye(12)[11], label=None)
        )[0]
        == 11
    )
