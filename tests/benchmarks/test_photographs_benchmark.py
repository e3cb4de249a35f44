"""The arithmetic of the benchmark on photographs, its oracles, and the recipes it starts from."""

import photographs
import pytest
import torch
from torch.nn import functional as F

from glimpse_env import Backbone, BankSensor, GlimpseVectorEnv, ImageSet
from glimpse_env.evaluation import intervals
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.training.recipes import DATASETS, LONG, PAPER, PAPER_STOP
from glimpse_env.training.stages import StopOptions


def test_paired_difference_by_hand():
    first = torch.tensor([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])  # two seeds, four images
    second = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
    mean, low, high = intervals.paired(first, second)
    assert mean == pytest.approx(12.5)  # one image, right for one of two seeds more
    assert low == 0 < high
    assert intervals.paired(first, first) == (0, 0, 0)


@pytest.fixture(scope="module")
def env():
    pixels = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[-0.5, -0.5, 0.5, 0.0], [0.8, 0.8, 1.0, 1.0]]).repeat(3, 1)
    images = ImageSet(pixels, torch.arange(6) % 3, ("a", "b", "c"), boxes=boxes)
    sensor = BankSensor(images, Backbone("resnet18", None, precision="float32"), glimpse_size=32, grid=3)
    made = GlimpseVectorEnv(6, [(image, int(label)) for image, label in zip(pixels, images.labels, strict=True)], sensor=sensor, grid=3)
    made.images = images
    return made


def test_the_box_oracle_looks_at_the_middle_of_the_box_as_far_as_it_can(env):
    places = photographs.box_centre(env, None, None, torch.tensor([0, 1]), 2)
    assert torch.allclose(places, torch.tensor([[0.0, -0.25 / env.sensor.reach], [1.0, 1.0]]))


def test_the_loss_oracle_finds_no_better_place(env):
    torch.manual_seed(0)
    network = RecurrentAttention(Architecture(glimpse=512, classes=3, horizon=env.preset.max_glimpses, hidden=8, features=8)).eval()
    index = torch.arange(6)

    def loss(places):
        unit = {"location": places, "step": torch.full((6, 1), 2 / env.preset.max_glimpses)}
        seen = env.sensor.observe(index, places, torch.full((6,), 2))
        return F.cross_entropy(network(unit | seen, network.begin(6))[0].logits, env.images.labels, reduction="none")

    with torch.no_grad():
        best = loss(photographs.least_loss(env, network, network.begin(6), index, 2))
        for place in env.sensor.places:
            assert (best <= loss(place.expand(6, 2)) + 1e-5).all()


@pytest.mark.parametrize("recipe", [*DATASETS.values(), *PAPER.values(), PAPER_STOP, *LONG.values()])
def test_recipes_name_options_only(recipe):
    assert StopOptions(**recipe)


def test_dtram_starts_from_the_ram_of_its_seed(tmp_path):
    options = photographs.Photographs(out=tmp_path)
    chosen = photographs.options_of(options, "DT-RAM", 3)
    assert chosen.ram == photographs.folder(options, "RAM, 3", 3) / "checkpoint.pt"
    assert chosen.seed == 3
    assert not isinstance(photographs.options_of(options, "RAM, 3", 3), StopOptions)
