"""Data sets: each loader against what it was made from, and every bad input."""

from __future__ import annotations

import gzip
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from glimpse_env import PRESETS, GlimpseVectorEnv, Preset, datasets
from glimpse_env.datasets import DataSetSpec, ImageSet, load, mnist
from glimpse_env.datasets.generated import clutter

IDX = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def some(count: int = 12, side: int = 4, classes: int = 3) -> ImageSet:
    """A set whose images tell their index: all pixels are it."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, side, side)
    centers = torch.arange(2.0 * count).view(count, 2)
    return ImageSet(images, torch.arange(count) % classes, tuple("abcdefg"[:classes]), centers)


@pytest.fixture
def unchecked(monkeypatch):
    """Lets wrong types reach the code, as they do for users, who run without the tests' type checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# The base


def test_subset_keeps_images_labels_and_centers_together():
    part = some().subset(torch.tensor([7, 2]))
    assert part.stack()[:, 0, 0, 0].tolist() == [7, 2]
    assert part.labels.tolist() == [1, 2]
    assert part.target_centers.tolist() == [[14, 15], [4, 5]]


def test_resized_keeps_all_but_the_size():
    larger = some().resized(9)
    assert larger.images.shape == (12, 1, 9, 9)
    assert larger.images[:, 0, 4, 4].tolist() == list(range(12))
    assert some().resized(4).images.shape == (12, 1, 4, 4)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (2, [0, 0, 0], "2 images and 3 labels"),
        (0, [], "at least one"),
        (2, [0, 3], "from 0 to 3: expected 0 to 2 for 3 classes"),
        (2, [-1, 1], "from -1 to 1"),
    ],
)
def test_a_set_that_no_episode_could_be_drawn_from_is_refused(unchecked, images, labels, message):
    pixels = torch.zeros(images, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=message):
        ImageSet(pixels, torch.tensor(labels, dtype=torch.long), tuple("abc"))


# MNIST


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    """MNIST's training images."""
    return load("mnist")


def test_mnist_is_the_known_set(digits):
    assert digits.images.shape == (60_000, 1, 28, 28)
    assert digits.classes == tuple("0123456789")
    assert digits.labels[:3].tolist() == [5, 0, 4]
    assert digits.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = load("mnist", "test")
    assert test.images.shape == (10_000, 1, 28, 28)
    assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.skipif(not IDX.is_dir(), reason=f"the original IDX files are not at {IDX}")
@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
def test_mnist_equals_the_original_files(split, stem):
    digits = mnist.load(split)
    for values, part, header in ((digits.images, "images-idx3", 16), (digits.labels, "labels-idx1", 8)):
        raw = gzip.decompress((IDX / f"{stem}-{part}-ubyte.gz").read_bytes())[header:]
        assert values.to(torch.uint8).numpy().tobytes() == raw


def test_mnist_is_packed_from_idx_files(tmp_path):
    pixels, labels = np.arange(2 * 28 * 28).astype(np.uint8), np.array([3, 8], np.uint8)
    for stem in ("train", "t10k"):
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels.tobytes()))
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels.tobytes()))
    mnist.pack(tmp_path, tmp_path / "packed.npz")
    with np.load(tmp_path / "packed.npz") as packed:
        assert packed["test_images"].shape == (2, 28, 28)
        assert packed["train_images"].tobytes() == pixels.tobytes()
        assert packed["test_labels"].tolist() == [3, 8]


def test_fit_and_validation_partition_train(digits):
    fit, validation = load("mnist", "fit"), load("mnist", "validation")
    assert (len(fit), len(validation)) == (55_000, 5_000)
    weights = torch.randint(1, 2**31, (28 * 28,), generator=torch.Generator().manual_seed(0))

    def marks(images: Tensor) -> Tensor:
        """A number for each image that no two distinct ones share, but by great chance."""
        return torch.cat([(part.flatten(1) * weights).sum(1) for part in images.split(5_000)])

    both = torch.cat([marks(fit.stack()), marks(validation.stack())])
    assert torch.equal(both.sort().values, marks(digits.images).sort().values)
    assert torch.equal(load("mnist", "validation").stack(), validation.stack())


# Clutter


@pytest.fixture(scope="module")
def cluttered() -> ImageSet:
    """Clutter's test images."""
    return load("clutter", "test")


def cut_targets(clutter: ImageSet) -> Tensor:
    """The 12 x 12 pixels about each target's center."""
    x, y = ((clutter.target_centers + 1) * 96 / 2 - 6).round().long().unbind(1)
    step = torch.arange(12)
    rows, columns = (y[:, None] + step)[:, :, None], (x[:, None] + step)[:, None, :]
    return clutter.images[torch.arange(len(clutter))[:, None, None], 0, rows, columns].int()


def linear_accuracy(fit: Tensor, fit_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy of least squares on one-hot classes, in closed form."""
    x, new = (functional.pad(part.flatten(1).double() / 255, (0, 1), value=1.0) for part in (fit, test))
    target = functional.one_hot(fit_labels, 10).double()
    weights = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1], dtype=x.dtype), x.T @ target)
    return ((new @ weights).argmax(1) == test_labels).double().mean().item()


def test_clutter_holds_its_class_glyph_at_its_center_uncovered(cluttered):
    noise = cut_targets(cluttered) - clutter.draw_glyphs()[cluttered.labels].int()
    assert noise.min() >= 0
    assert noise.max() <= clutter.FINE + clutter.COARSE - 2
    other = cut_targets(cluttered) - clutter.draw_glyphs()[(cluttered.labels + 1) % 10].int()
    assert (other.flatten(1).amin(1) < 0).all()


def test_clutter_glyphs_have_equal_ink_and_do_not_resemble_each_other():
    shapes = clutter.draw_glyphs()
    assert shapes.shape == (clutter.CLASSES + clutter.DISTRACTOR_KINDS, 12, 12)
    ink = shapes.int().sum((1, 2))
    assert ink.max() - ink.min() < 0.01 * ink.max()
    alike = clutter.correlate(shapes.float()).fill_diagonal_(0)
    assert alike.max() <= clutter.LIKENESS + 0.01


def test_clutter_is_balanced_spread_out_and_always_the_same(cluttered):
    assert cluttered.images.shape == (4_000, 1, 96, 96)
    assert cluttered.labels.bincount().tolist() == [400] * 10
    starts = (cluttered.target_centers + 1) * 48 - 6
    assert (starts.amin().item(), starts.amax().item()) == (0, 84)
    assert (starts.mean(0) - 42).abs().max() < 2  # standard error 0.39
    again = clutter.load.__wrapped__("test")
    assert torch.equal(again.images, cluttered.images)
    assert torch.equal(again.labels, cluttered.labels)


def test_clutter_glyphs_do_not_overlap():
    corners = clutter.scatter(500, 9, torch.Generator().manual_seed(0))
    apart = (corners[:, :, None] - corners[:, None]).abs().amax(-1) + 99 * torch.eye(9, dtype=torch.long)
    assert apart.min() >= 12


def test_clutter_is_classified_by_the_target_and_not_by_the_blurred_view(cluttered):
    train, labels = load("clutter"), cluttered.labels
    assert len(train) == 20_000
    assert not torch.equal(train.images[:4_000], cluttered.images)
    fit = cut_targets(train)[:4_000]
    assert linear_accuracy(fit, train.labels[:4_000], cut_targets(cluttered), labels) > 0.99
    blurred, test = (functional.avg_pool2d(part.images.float(), 6) for part in (train, cluttered))
    assert linear_accuracy(blurred, train.labels, test, labels) < 0.13  # chance 0.10, standard error 0.005


# A folder


def picture(path: Path, *colour: int, size: tuple[int, int] = (8, 6), **options: object) -> None:
    """Write a picture of one colour (black if there is none), (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour or 0).save(path, **options)


@pytest.fixture
def birds(tmp_path) -> Path:
    """Ten wrens and five crows; red is by class, green by image."""
    for name, count, red in (("wren", 10, 200), ("crow", 5, 100)):
        for number in range(count):
            picture(tmp_path / "birds" / name / f"{number}.png", red, number, 0)
    (tmp_path / "birds" / ".cache").mkdir()
    (tmp_path / "birds" / "README.txt").write_text("birds")
    return tmp_path / "birds"


def test_a_folder_without_splits_is_partitioned_in_each_class(birds):
    train, test = load(birds), load(birds, "test")
    assert train.classes == test.classes == ("crow", "wren")
    assert train.labels.bincount().tolist() == [4, 8]
    assert test.labels.bincount().tolist() == [1, 2]
    colours = [(red, green) for part in (train, test) for red, green in part.images[:, :2, 0, 0].tolist()]
    assert sorted(colours) == [(100, number) for number in range(5)] + [(200, number) for number in range(10)]
    assert train.images[:, 0, 0, 0].tolist() == [(100, 200)[label] for label in train.labels]
    assert torch.equal(load(birds, "test").images, test.images)
    assert train.images.shape == (12, 3, 6, 8)


def test_a_folder_with_splits_keeps_the_training_labels(tmp_path):
    for split, name, red in (("train", "a", 1), ("train", "b", 2), ("train", "c", 3), ("test", "c", 9)):
        picture(tmp_path / split / name / "x.png", red, 0, 0)
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert (test.labels.tolist(), test.classes) == ([2], ("a", "b", "c"))
    assert test.images[0, 0, 0, 0] == 9
    picture(tmp_path / "test" / "d" / "x.png")
    with pytest.raises(ValueError, match=r"the classes d, which .*train lacks: expected a, b, c"):
        load(tmp_path, "test")


def test_a_split_that_the_folder_lacks_is_refused(tmp_path):
    picture(tmp_path / "train" / "a" / "x.png")
    with pytest.raises(FileNotFoundError, match="class folders in 'train' but none in 'test'"):
        load(tmp_path, "test")


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "bus"):
        picture(tmp_path / name / "x.png")
    assert load(tmp_path).classes == ("bus", "train")
    with pytest.raises(FileNotFoundError, match="one image in each class"):
        load(tmp_path, "test")


def test_folder_images_are_cut_to_the_central_square_after_resizing_the_short_side(tmp_path):
    stripes = np.zeros((10, 40, 3), np.uint8)
    stripes[:, 15:25] = 255  # the central square
    (tmp_path / "a").mkdir()
    Image.fromarray(stripes).save(tmp_path / "a" / "x.png")
    picture(tmp_path / "b" / "x.png", 255, 255, 255, size=(10, 10))
    images = load(tmp_path, image_size=10).images
    assert images.shape == (2, 3, 10, 10)
    assert images.min() == 255
    assert load(tmp_path, image_size=5).images.shape == (2, 3, 5, 5)


def test_the_cameras_rotation_is_applied_and_other_modes_become_rgb(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    folder = tmp_path / "train" / "a"
    picture(folder / "x.jpg", 10, 20, 30, exif=turned)
    picture(tmp_path / "train" / "b" / "x.png", size=(6, 8))
    assert load(tmp_path).images.shape == (2, 3, 8, 6)
    for mode in ("L", "P", "RGBA", "LA", "1"):
        Image.new(mode, (6, 8)).save(folder / f"{mode}.png")
    assert load(tmp_path).images.shape == (7, 3, 8, 6)


def test_folder_images_of_several_sizes_need_image_size(birds):
    picture(birds / "crow" / "large.png", size=(9, 9))
    with pytest.raises(ValueError, match=r"has shape \(3, .*image_size="):
        load(birds)
    assert load(birds, image_size=4).images.shape == (13, 3, 4, 4)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n damaged"])
def test_a_corrupt_image_is_named(tmp_path, content):
    picture(tmp_path / "train" / "crow" / "good.png")
    (tmp_path / "train" / "wren").mkdir()
    (tmp_path / "train" / "wren" / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"train/wren/bad\.png cannot be read as an image"):
        load(tmp_path)


def test_a_truncated_image_is_named_and_one_of_16_bits_is_scaled(tmp_path):
    target = tmp_path / "train" / "wren" / "bad.png"
    target.parent.mkdir(parents=True)
    picture(tmp_path / "train" / "crow" / "good.png")
    Image.effect_noise((64, 64), 50).save(target)
    target.write_bytes(target.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"wren/bad\.png cannot be read"):
        load(tmp_path, image_size=4)
    Image.new("I;16", (8, 6), 0x80FF).save(target)
    assert load(tmp_path, image_size=4).images[1].unique().tolist() == [0x80]


def test_empty_folders_are_named_with_the_layout(birds, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*empty: expected FOLDER/train/CLASS/IMAGE"):
        load(tmp_path / "empty")
    (birds / "dodo").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*dodo: expected"):
        load(birds)


def test_a_folder_is_looked_up_here_in_root_in_glimpse_data_and_at_home(birds, monkeypatch, tmp_path):
    monkeypatch.delenv("GLIMPSE_DATA", raising=False)
    known = ", ".join(sorted(datasets.NAMED))
    message = rf"'birds': neither a known data set \({known}\) nor a folder.*GLIMPSE_DATA"
    with pytest.raises(ValueError, match=message):
        load("birds")
    assert len(load("birds", root=birds.parent)) == 12
    monkeypatch.setenv("GLIMPSE_DATA", str(birds.parent))
    assert len(load("birds")) == 12
    with pytest.raises(ValueError, match="elsewhere"):
        load("birds", root=tmp_path / "elsewhere")  # root= goes before GLIMPSE_DATA
    monkeypatch.delenv("GLIMPSE_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load("~/birds")) == 12
    assert len(load("birds", root="~")) == 12
    monkeypatch.chdir(tmp_path)
    assert len(load("birds")) == 12


@pytest.mark.parametrize("name", [Path("nowhere"), "no/where", "/no/where", "~/nowhere/at/all"])
def test_a_path_that_leads_nowhere_is_named(name):
    with pytest.raises(FileNotFoundError, match="where"):
        load(name)


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="split='val': expected one of train"):
        load("mnist", "val")
    with pytest.raises(ValueError, match="image_size=0"):
        load("mnist", image_size=0)


def test_no_name_is_not_the_working_directory():
    with pytest.raises(ValueError, match="dataset=''"):
        load("")


# A torch data set object


class Pairs(list):
    """(image, label) pairs as a data set object, which may have `classes`."""

    def __init__(self, *pairs: object) -> None:
        """Hold them."""
        super().__init__(pairs)


PIXELS = torch.randint(0, 256, (3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
GREY = PIXELS[:1]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS.float() / 255, PIXELS),
        (PIXELS.double().numpy() / 255, PIXELS),
        (PIXELS.numpy(), PIXELS),
        (PIXELS.permute(1, 2, 0).numpy(), PIXELS),
        (Image.fromarray(PIXELS.permute(1, 2, 0).numpy()), PIXELS),
        (GREY, GREY),
        (GREY[0], GREY),
        (GREY[0].float() / 255, GREY),
        (GREY[0].numpy(), GREY),
        (GREY.permute(1, 2, 0).numpy(), GREY),
        (Image.fromarray(GREY[0].numpy()), GREY),
    ],
)
def test_every_kind_of_image_gives_the_same_pixels(image, expected):
    pair = load(Pairs((image, 1), (image, 0)))
    assert torch.equal(pair.images, torch.stack([expected, expected]))
    assert pair.labels.tolist() == [1, 0]


@pytest.mark.parametrize("label", [2, np.int64(2), torch.tensor(2), np.array(2)])
def test_every_kind_of_label_is_a_whole_number(label):
    images = load([(GREY, label)])
    assert images.labels.tolist() == [0]
    assert images.classes == ("2",)


def test_class_names_come_from_the_object_or_from_what_it_is_a_part_of():
    whole = Pairs((GREY, 0), (PIXELS, 1))
    whole.classes = ["cat", "dog"]
    assert load(whole).classes == ("cat", "dog")
    assert load(torch.utils.data.Subset(whole, [0])).classes == ("cat", "dog")
    assert torch.equal(load(whole).images[0], GREY.expand(3, -1, -1))  # grey among coloured ones


def test_folds_partition_the_training_images_and_share_their_pixels():
    whole = Pairs(*((torch.full((1, 4, 4), mark, dtype=torch.uint8), mark % 2) for mark in range(11)))
    held = []
    for fold in (1, 2, 3):
        fit, validation = (load(whole, f"{part}:{fold}/3") for part in ("fit", "validation"))
        assert fit.images.shape == validation.images.shape == (11, 1, 4, 4)  # parts of one stack
        marks = [part.stack()[:, 0, 0, 0].tolist() for part in (fit, validation)]
        assert sorted(marks[0] + marks[1]) == list(range(11))
        assert marks[1] == [validation.image(i)[0, 0, 0].item() for i in range(len(validation))]
        assert validation.labels.tolist() == [mark % 2 for mark in marks[1]]
        held += marks[1]
    assert sorted(held) == list(range(11))


@pytest.mark.parametrize("split", ["fit:0/3", "fit:4/3", "validation:1/1", "test:1/3", "fit:1"])
def test_impossible_fold_is_refused_by_name(split):
    with pytest.raises(ValueError, match=f"split='{split}': expected one of .* fit:1/5"):
        load(Pairs((PIXELS, 0), (PIXELS, 1)), split)


def test_object_is_one_split_and_is_partitioned_like_any_other():
    whole = Pairs(*[(torch.full((1, 4, 4), value, dtype=torch.uint8), 0) for value in range(24)])
    parts = [load(whole, split).stack()[:, 0, 0, 0].tolist() for split in ("fit", "validation")]
    assert [len(part) for part in parts] == [22, 2]
    assert sorted(parts[0] + parts[1]) == list(range(24))
    with pytest.raises(ValueError, match=r"split='test': .*pass the test object with split='train'"):
        load(whole, "test")
    with pytest.raises(ValueError, match=r"split='fit': .*at least 2"):
        load(Pairs((GREY, 0)), "fit")


def test_object_images_are_resized_and_cut_square():
    assert load(Pairs((PIXELS, 0), (PIXELS[:, :5, :5], 0)), image_size=3).images.shape == (2, 3, 3, 3)


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ([], ValueError, "Pairs object is empty"),
        ([GREY], TypeError, r"dataset\[0\]: expected an \(image, label\) pair, got a Tensor"),
        ([(GREY, 0, 1)], TypeError, "got a tuple of 3"),
        ([(GREY, 0), (GREY, 0.5)], TypeError, "label of image 1 is 0.5"),
        ([(GREY, True)], TypeError, "label of image 0 is True"),
        ([(GREY, torch.tensor([1, 2]))], TypeError, "label of image 0"),
        ([(GREY, -1), (GREY, 0)], ValueError, "label -1 of image 0: expected from 0 on"),
        ([("cat.png", 0)], TypeError, "image 0 is a str: expected a PIL image"),
        ([(PIXELS.permute(1, 2, 0), 0)], ValueError, r"image 0 has shape \(6, 8, 3\)"),
        ([(GREY[None], 0)], ValueError, r"image 0 has shape \(1, 1, 6, 8\)"),
        ([(GREY.int(), 0)], TypeError, "image 0 has dtype torch.int32"),
        ([(GREY.float(), 0)], ValueError, r"image 0 has values from .*normalising"),
        ([(GREY.float() / 255 - 0.5, 0)], ValueError, "image 0 has values from -0"),
        ([(torch.full((4, 4), torch.nan), 0)], ValueError, "values from nan"),
        ([(PIXELS, 0), (PIXELS[:, :5], 0)], ValueError, r"image 1 has shape \(3, 5, 8\).*image_size="),
        (
            [(Image.new("I", (4, 4), -1), 0)],
            ValueError,
            "image 0: .*mode 'I' with values from -1 to -1: expected 0 to",
        ),
    ],
)
def test_bad_pairs_are_refused(pairs, kind, message):
    with pytest.raises(kind, match=message):
        load(Pairs(*pairs))


def test_labels_outside_the_named_classes_are_refused():
    whole = Pairs((GREY, 0), (GREY, 2))
    whole.classes = ["cat", "dog"]
    with pytest.raises(ValueError, match="label 2 of image 1: expected 0 to 1, for 2 classes"):
        load(whole)


class Stream(torch.utils.data.IterableDataset):
    """Pairs that can only be read in order."""

    def __iter__(self):  # noqa: D105
        yield GREY, 0


@pytest.mark.parametrize("dataset", [Stream(), torch.utils.data.DataLoader(Pairs((GREY, 0))), 5, None])
def test_what_is_not_map_style_is_refused(unchecked, dataset):
    with pytest.raises(TypeError, match=f"map-style data set .* got {type(dataset).__name__}"):
        load(dataset)


# Data sets by name


def test_every_named_data_set_has_a_recipe_kind_and_a_preset():
    canvas = ["translated-mnist", "cluttered-mnist", "cluttered-mnist-100"]
    assert list(datasets.NAMED) == ["mnist", *canvas, "clutter", "circle-square", "cub", "cars", "dogs"]
    assert datasets.list_names("photographs") == ("cub", "cars", "dogs")
    by_name = datasets.expand_kinds({"digits": 1, "photographs": 2})
    assert by_name == {"mnist": 1, "cub": 2, "cars": 2, "dogs": 2}
    assert {name: spec.preset for name, spec in datasets.NAMED.items()} == PRESETS
    for name, spec in datasets.NAMED.items():
        assert spec.name == name
        assert len(spec.short) <= len(spec.title)
    for name in ("mnist", "clutter", "circle-square", *canvas):
        assert len(load(name, "test").classes) == datasets.NAMED[name].classes


def test_a_data_set_needs_one_line_of_the_table(monkeypatch):
    preset = Preset(glimpse_size=2, max_glimpses=3)
    spec = DataSetSpec("stripes", "Stripes", "Stripes", 5, "digits", preset, lambda split, *_: some())
    monkeypatch.setitem(datasets.NAMED, "stripes", spec)
    env = GlimpseVectorEnv(4, "stripes")
    assert env.preset == spec.preset
    assert env.reset(seed=0)[0]["glimpse"].shape == (4, some().images.shape[1], 2, 2)
