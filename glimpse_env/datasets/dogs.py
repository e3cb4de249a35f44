"""Stanford Dogs: 20,580 photographs of 120 breeds, 12,000 to train on and 8,580 to test.

Khosla, Jayadevaprakash, Yao & Fei-Fei, "Novel Dataset for Fine-Grained Image Categorization", FGVC at CVPR,
2011. The archive is three tar files: `Images/BREED/NAME.jpg`, `Annotation/BREED/NAME` (XML) and the lists
`train_list.mat` and `test_list.mat`, which may lie in a folder `lists`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glimpse_env.datasets.archive import Archive, Layout, Listing
from glimpse_env.datasets.photographs import read_mat, specify

PHOTOGRAPHS = ("Images", "images/Images", "images")
ANNOTATIONS = ("Annotation", "annotations/Annotation", "annotation/Annotation", "annotations", "annotation")
EDGES = ("xmin", "ymin", "xmax", "ymax")
SITE = "http://vision.stanford.edu/aditya86/ImageNetDogs"


def read_listing(folder: Path, parts: Mapping[str, Path], split: str) -> Listing:
    """Read the MATLAB file of a split; a breed's name is its folder's."""
    file, inside = parts["list"], parts["images"].relative_to(folder).as_posix()
    images, numbers = (np.atleast_1d(column).tolist() for column in read_mat(file, "file_list", "labels"))
    labels = [int(number) for number in numbers]
    if len(images) != len(labels):
        counts = f"file_list has {len(images)} entries but labels has {len(labels)}"
        raise ValueError(f"{file}: {counts}, expected equally many; replace it")
    return Listing(
        file=file,
        images=[f"{inside}/{image}" for image in images],
        labels=labels,
        names=name_classes(file, labels, images),
        boxes=lambda: torch.stack([read_box(parts["annotations"] / image) for image in images]),
    )


def name_classes(file: Path, labels: Sequence[int], images: Sequence[str]) -> dict[int, str]:
    """Return the folder of each class' photographs; each must have one number, and each number one."""
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for number, image in zip(labels, images, strict=True):
        breed = image.partition("/")[0]
        if (names.setdefault(number, breed), numbers.setdefault(breed, number)) != (breed, number):
            before = f"{names[number]} has {numbers.get(names[number])} and {breed} has {numbers[breed]}"
            raise ValueError(
                f"{file}: {image} has class {number}, but {before}: expected one for each folder"
            )
    return names


def read_box(photograph: Path) -> Float[Tensor, "4"]:
    """Return the box around all dogs of a photograph from its annotation, the file without the suffix."""
    file = photograph.with_suffix("")
    try:
        boxes = ElementTree.parse(file).iter("bndbox")
        dogs = torch.tensor([[float(box.findtext(edge, "")) for edge in EDGES] for box in boxes]).view(-1, 4)
        return torch.cat([dogs[:, :2].amin(0), dogs[:, 2:].amax(0)])
    except FileNotFoundError as error:
        expected = "expected a photograph's annotation"
        raise FileNotFoundError(f"{file} does not exist: {expected}; unpack {SITE}/annotation.tar") from error
    except (ElementTree.ParseError, ValueError, IndexError) as error:
        expected = f"expected XML with a bndbox of {', '.join(EDGES)}"
        raise ValueError(f"{file}: {expected} ({error}); replace it") from error


ARCHIVE = Archive(
    name="dogs",
    title="Stanford Dogs",
    folders=("stanford_dogs", "StanfordDogs"),
    layouts=(
        Layout(
            lambda split: {"list": (f"{split}_list.mat", f"lists/{split}_list.mat")},
            lambda _: {"images": PHOTOGRAPHS, "annotations": ANNOTATIONS},
        ),
    ),
    classes=120,
    read_listing=read_listing,
    sources=(
        (f"{SITE}/images.tar", "1bb1f2a596ae7057f99d7d75860002ef"),
        (f"{SITE}/annotation.tar", "4298cc0031f6bc6e74612ac83b5988e2"),
        (f"{SITE}/lists.tar", "edbb9f16854ec66506b5f09b583e0656"),
    ),
)
# Sermanet et al. 2015 (up to 3 glimpses of 96 x 96 through GoogLeNet) and FCAN (256 x 256 images through
# VGG-16) use other settings: image_size, glimpse_size and backbone. The images are ImageNet's, so
# torchvision's weights may have been trained on them.
SPEC = specify(ARCHIVE, short="Dogs")
