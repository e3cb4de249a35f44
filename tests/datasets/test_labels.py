"""Labels of data set objects: gaps, dicts, names; and the classes of train and test objects."""

from __future__ import annotations

import logging
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from glimpse_env import GlimpseEnv, GlimpseVectorEnv
from glimpse_env.datasets import load
from glimpse_env.training import resume

GREY = torch.zeros(1, 4, 4, dtype=torch.uint8)


class Items(Dataset):
    """Items as a data set object, with whatever attributes are given."""

    def __init__(self, items: list[Any], **attributes: Any) -> None:
        """Hold them."""
        self.items = items
        vars(self).update(attributes)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """Return one."""
        return self.items[index]


def labelled(*labels: Any, **attributes: Any) -> Items:
    """A data set object with these labels."""
    return Items([(GREY, label) for label in labels], **attributes)


# Gaps


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        ((0, 1, 2), [0, 1, 2], "0 1 2"),
        ((2, 0, 1, 2), [2, 0, 1, 2], "0 1 2"),
        ((0, 0), [0, 0], "0"),
        ((1, 2, 3), [0, 1, 2], "1 2 3"),
        ((3, 1, 3), [1, 0, 1], "1 3"),
        ((0, 2), [0, 1], "0 2"),
        ((2_000_000, 0, 1), [2, 0, 1], "0 1 2000000"),
        ((7,), [0], "7"),
        ((10, 9, 2), [2, 1, 0], "2 9 10"),
        ((2**62, 5), [1, 0], f"5 {2**62}"),
        ((np.uint64(2**63 + 1), 5), [1, 0], f"5 {2**63 + 1}"),
        ((torch.tensor([4]), np.array([[2]])), [1, 0], "2 4"),
    ],
)
@pytest.mark.parametrize("as_dict", [False, True])
def test_labels_with_gaps_become_numbers_from_0_that_are_called_like_them(
    labels, expected, classes, as_dict, caplog
):
    items = [{"image": GREY, "label": label} if as_dict else (GREY, label) for label in labels]
    images = load(Items(items))
    assert images.labels.tolist() == expected
    assert images.classes == tuple(classes.split())
    gaps = classes.split() != [str(label) for label in range(len(images.classes))]
    assert ("not numbered from 0 without gaps" in caplog.text) == gaps


def test_the_environments_have_the_classes_that_occur():
    data = labelled(1, 3, 3, 2_000_000)
    assert GlimpseVectorEnv(2, data).single_action_space.sample()["prediction"].shape == (3,)
    assert GlimpseEnv(data).action_space.sample()["prediction"].shape == (3,)
    env = GlimpseVectorEnv(4, data)
    env.reset(options={"indices": torch.tensor([3, 2, 1, 0])})
    actions = {
        "location": torch.zeros(4, 2),
        "stop": torch.ones(4, dtype=torch.long),
        "prediction": torch.eye(3)[[2, 1, 1, 0]],
    }
    assert env.step(actions)[4]["correct"].tolist() == [True] * 4


@pytest.mark.parametrize("label", [-1, -2_000_000, np.int8(-1), torch.tensor(-1)])
def test_negative_labels_are_refused(label):
    with pytest.raises(ValueError, match=r"label -\d+ of image 1: expected from 0 on; a dict `classes`"):
        load(labelled(0, label))


@pytest.mark.parametrize("label", [0.5, 1.0, "cat", None, True, np.bool_(True), np.float32(1), (1,), b"1"])
def test_labels_that_are_no_whole_numbers_are_refused(label):
    with pytest.raises(TypeError, match=r"label of image 1 is .*: expected a whole number"):
        load(labelled(0, label))


# Names


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        (["cat", "dog", "owl", "pig"], "cat dog owl pig", [1, 3]),
        (np.array(["cat", "dog", "owl", "pig"]), "cat dog owl pig", [1, 3]),
        ({1: "cat", 3: "dog"}, "cat dog", [0, 1]),
        ({3: "dog", 1: "cat", 2: "owl"}, "cat owl dog", [0, 2]),
        ({np.int64(3): "dog", -1: "none", 1: "cat"}, "none cat dog", [1, 2]),
        ([], "1 3", [0, 1]),
    ],
)
def test_classes_of_the_object_name_its_labels(classes, names, expected, caplog):
    caplog.set_level(logging.INFO, "glimpse_env")
    images = load(labelled(1, 3, classes=classes))
    assert images.classes == tuple(names.split())
    assert images.labels.tolist() == expected
    unused = len(images.classes) - 2
    assert (f"{unused} of {unused + 2} classes have no image" in caplog.text) == (unused > 0)


@pytest.mark.parametrize(
    ("classes", "kind", "message"),
    [
        (["cat", "dog"], ValueError, "label 3 of image 1: expected 0 to 1, for 2 classes"),
        ({1: "cat", 2: "dog"}, ValueError, "label 3 of image 1: expected one of 1, 2$"),
        (dict.fromkeys(range(5, 50), "x"), ValueError, "label 1 of image 0: .* 5, 6, 7, 8, 9, ..., 49"),
        (10, TypeError, "classes=10 of the data set: expected names, or a dict"),
        ("cat", TypeError, "classes='cat' of the data set"),
        ({"cat": 1, "dog": 3}, TypeError, "'cat' is no label: expected a dict from whole numbers to names"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes, kind, message):
    with pytest.raises(kind, match=message):
        load(labelled(1, 3, classes=classes))


def test_parts_and_sums_have_the_classes_of_what_they_are_made_of():
    train, test = labelled(1, 2, 3, classes={1: "a", 2: "b", 3: "c"}), labelled(1, 3)
    assert load(Subset(train, [2, 0])).classes == ("a", "b", "c")
    assert load(ConcatDataset([train, train])).labels.tolist() == [0, 1, 2] * 2
    assert load(ConcatDataset([train, Subset(train, [0])])).classes == ("a", "b", "c")
    assert load(ConcatDataset([train, test])).classes == ("1", "2", "3")  # they disagree
    part = Subset(test, [0, 1])
    part.classes = train.classes  # pyright: ignore[reportAttributeAccessIssue]
    assert load(part).classes == ("a", "b", "c")
    assert load(part).labels.tolist() == [0, 2]


# Dicts

Pair = namedtuple("Pair", "image label")
ClassLabel = namedtuple("ClassLabel", "names")


@pytest.mark.parametrize(
    "item",
    [
        {"image": GREY, "label": 0},
        {"label": torch.tensor(0), "image": GREY, "file": "a.png", "image_id": 9},
        {"img": GREY, "label": 0},
        {"pixel_values": GREY, "labels": np.int64(0)},
        {"Image": GREY, "Target": 0},
        OrderedDict(image=GREY, target=0),
        UserDict({"image": GREY, "label": 0}),
        Pair(GREY, 0),
        [GREY, 0],
    ],
)
def test_items_may_be_dicts(item):
    images = load(Items([item]))
    assert torch.equal(images.images[0], GREY)
    assert (images.labels.tolist(), images.classes) == ([0], ("0",))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"image": GREY},
            r"dataset\[0\]: expected one of the keys label, labels, target, class, got 'image'",
        ),
        ({"label": 0}, "one of the keys image, img, pixel_values, got 'label'"),
        ({}, "one of the keys image, img, pixel_values, got none"),
        ({"img": GREY, "fine_label": 0, "coarse_label": 0}, "got 'img', 'fine_label', 'coarse_label'"),
        ({"image": GREY, "img": GREY, "label": 0}, "got 'image', 'img', 'label'"),
        ({0: GREY, 1: 0}, "got 0, 1"),
        ({"image": GREY, "label": "cat"}, "label of image 0 is 'cat'"),
        ({"image": {"bytes": b""}, "label": 0}, "image 0 is a dict"),
        ("GREY", r"expected an \(image, label\) pair, got a str; a dict with one of image, img, "),
    ],
)
def test_dicts_without_an_image_and_a_label_are_refused(item, message):
    with pytest.raises(TypeError, match=message):
        load(Items([item]))


def test_names_come_from_the_features_of_hugging_face():
    items = [{"img": GREY, "label": 2}, {"img": GREY, "label": 0}]
    features = {"img": None, "label": ClassLabel(["cat", "dog", "owl"])}
    whole = Items(items, features=features)
    assert load(whole).classes == load(Subset(whole, [0])).classes == ("cat", "dog", "owl")
    assert load(whole).labels.tolist() == [2, 0]
    assert load(Items(items, features={"label": None})).classes == ("0", "2")
    assert load(labelled(0, 1, features=torch.zeros(2, 3))).classes == ("0", "1")


def test_a_dict_of_splits_is_refused_with_its_keys():
    with pytest.raises(TypeError, match="got a dict of 'train', 'test'; give one of its values"):
        load({"train": labelled(0), "test": labelled(1)})  # pyright: ignore[reportArgumentType]
    assert load({0: (GREY, 1), 1: (GREY, 0)}).labels.tolist() == [1, 0]


def test_tensors_of_one_column_of_labels_are_read():
    data = TensorDataset(torch.zeros(3, 1, 4, 4), torch.tensor([[3], [1], [3]]))
    assert load(data).labels.tolist() == [1, 0, 1]


# Train and test objects


def test_a_test_object_with_other_labels_has_the_training_classes_only_if_it_is_given_them():
    train, test = load(labelled(1, 2, 3)), load(labelled(1, 3))
    saved = {"classes": list(train.classes)}
    with pytest.raises(
        ValueError, match="run was trained on 3 classes, this data set has 2: class 1 was '2' and is"
    ):
        resume.check_classes(saved, test.classes, "run")
    with pytest.raises(ValueError, match="3 classes, this data set has 3: class 2 was '3' and is '4'"):
        resume.check_classes(saved, load(labelled(1, 2, 4)).classes, "run")
    with pytest.raises(ValueError, match="class 3 was missing and is '4'"):
        resume.check_classes(saved, load(labelled(1, 2, 3, 4)).classes, "run")
    names = {label: str(label) for label in (1, 2, 3)}
    given = load(labelled(1, 3, classes=names))
    resume.check_classes(saved, given.classes, "run")
    assert given.labels.tolist() == [0, 2]
    resume.check_classes(asdict(train) | {"classes": train.classes}, load(labelled(3, 2, 1)).classes, "run")
    resume.check_classes({}, test.classes, "run")


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (np.zeros((8, 8), np.longdouble), TypeError, "dtype float128|dtype longdouble"),
        (np.zeros((8, 8), object), TypeError, "dtype object"),
        (np.zeros((8, 8), [("red", "u1")]), TypeError, "dtype .*red"),
        (np.ma.masked_all((8, 8), np.uint8), ValueError, "masked"),
        (np.zeros((8, 8, 2), np.uint8), ValueError, r"shape \(8, 8, 2\)"),
        (torch.zeros(8, 8).to_sparse(), TypeError, "sparse_coo"),
        (torch.zeros(8, 8, device="meta"), TypeError, "on meta"),
        (torch.zeros(8, 8).to(torch.float8_e4m3fn), TypeError, "float8"),
    ],
)
def test_images_that_cannot_be_used_are_refused_by_number(image, kind, message):
    good = np.zeros((8, 8), np.uint8)
    with pytest.raises(kind, match=f"image 1 .*({message})"):
        load([(good, 0), (image, 1)], "train", image_size=None)


def test_images_of_one_class_are_reported(caplog):
    assert load([(np.zeros((8, 8), np.uint8), 5)] * 3, "train", image_size=None).classes == ("5",)
    assert "all images are of one class, 5: there is nothing to classify" in caplog.messages


@pytest.mark.parametrize("dataset", [np.array(1), torch.tensor(1), Dataset])
@pytest.mark.usefixtures("unchecked")
def test_what_has_no_items_is_no_data_set(dataset):
    with pytest.raises(TypeError, match="dataset: expected a name, a folder or a map-style data set"):
        load(dataset, "train")
