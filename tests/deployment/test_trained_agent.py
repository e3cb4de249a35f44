"""`load_agent`: what an agent predicts of tensors, arrays, PIL images and files, one or several."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from random_agents import PHOTOGRAPHS, build_ram, load, pictures, save

import glimpse_env
from glimpse_env import datasets
from glimpse_env.evaluation import stopping_rules, trajectories
from glimpse_env.runtime import checkpoint
from glimpse_env.training import environments

PAGE = (Path(__file__).parents[2] / "docs" / "trained-agents.md").read_text()


@pytest.fixture(scope="module")
def agent():
    return glimpse_env.load_agent("mnist-dtram")


@pytest.fixture(scope="module")
def digits():
    return datasets.load("mnist", "test").images[:70]  # more than are processed together


def same(found, expected):
    """Compare two results."""
    assert found.labels.tolist() == expected.labels.tolist()
    assert torch.equal(found.probabilities, expected.probabilities)
    pairs = zip(found.trajectories, expected.trajectories, strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_it_predicts_as_an_evaluation_does(agent, digits):
    env = environments.build_evaluation_environment(agent.saved["environment"], "test", "cpu", rows=70)
    env.images = env.images.subset(torch.arange(70))
    expected = trajectories.evaluate(env, agent.predictor.network.agent, agent.max_glimpses)
    stops = agent.rule.find_stops(expected)
    labels, probabilities, paths = agent.predict(digits)
    assert labels.tolist() == expected.predictions.gather(0, stops[None])[0].tolist()
    assert torch.allclose(probabilities.amax(1), expected.confidence.gather(0, stops[None])[0], atol=1e-6)
    assert [len(path) for path in paths] == (stops + 1).tolist()
    reach = env.sensor.reach
    for row, path in enumerate(paths):
        assert torch.allclose(path, expected.locations[: len(path), row] * reach, atol=1e-6)
    assert probabilities.shape == (70, 10)
    assert (labels.dtype, probabilities.dtype, paths[0].dtype) == (torch.int64, *[torch.float32] * 2)


def test_an_image_may_have_any_form(agent, digits, tmp_path):
    some = digits[:3]
    expected = agent.predict(some)
    files = []
    for number, digit in enumerate(some):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(digit[0].numpy()).save(files[-1])
    arrays = some.numpy()
    for batch in (
        list(some), tuple(arrays), arrays, arrays.transpose(0, 2, 3, 1), some / 255, arrays / 255.0,
        [Image.open(file) for file in files], files, [str(file) for file in files],
        some.expand(-1, 3, -1, -1), [some[0, 0], arrays[1, 0], files[2]],
    ):  # fmt: skip
        same(agent.predict(batch), expected)
    one = agent.predict(some[:1])
    for single in (some[0], some[0, 0], arrays[0], files[0], str(files[0]), Image.open(files[0])):
        same(agent.predict(single), one)


def test_photographs_are_resized_and_have_three_channels():
    agent = load(build_ram(512), PHOTOGRAPHS, stopping_rules.HORIZON)
    images = pictures(2)
    expected = agent.predict(images)
    assert expected.probabilities.shape == (2, 4)
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    same(agent.predict([large[0][:, :, :], images[1]]), agent.predict([agent.prepare(large[0]), images[1]]))
    wide = torch.cat((images[0], images[1], images[0]), 2)  # the central square is kept
    same(agent.predict(wide), agent.predict(images[1]))
    grey = pictures(1, channels=1)[0]
    same(agent.predict(grey), agent.predict(grey.expand(3, -1, -1)))


def test_with_zoom_trajectories_hold_the_widths():
    agent = load(build_ram(192, axes=3), {"glimpse_size": 8, "zoom": (0.5, 2.0)}, stopping_rules.HORIZON)
    path = agent.predict(pictures(1)).trajectories[0]
    assert path.shape == (3, 3)
    assert path[0, :2].tolist() == [0, 0]  # the whole image
    assert ((path[1:, 2] >= 4) & (path[1:, 2] <= 16)).all()


@pytest.mark.parametrize("unit", ["pixels", "short_side"])
def test_trajectories_of_images_of_different_sizes_hold_locations_alone(unit):
    """A share of the short side is a width of its own for every image, and still no part of an action."""
    scale = 0.5 if unit == "short_side" else 1.0
    view = {"image_size": "native", "glimpse_size": 8, "glimpse_unit": unit, "scales": (scale,)}
    preprocessing = {"channels": 3, "height": None, "width": None}
    agent = load(build_ram(192), view, stopping_rules.HORIZON, preprocessing=preprocessing)
    image = pictures(1)[0]
    found = agent.predict([image, image.repeat(1, 2, 3)])
    assert [path.shape for path in found.trajectories] == [(3, 2), (3, 2)]


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        ([], ValueError, "the batch is empty; expected at least one image"),
        (torch.zeros(0, 1, 28, 28, dtype=torch.uint8), ValueError, "the batch is empty"),
        (torch.zeros(2, 1, 28, 28).log(), ValueError, "image 0 has values from -inf to -inf"),
        (
            [torch.zeros(1, 28, 28), torch.full((1, 28, 28), torch.nan)],
            ValueError,
            "image 1 has values from nan",
        ),
        (torch.full((1, 28, 28), 200.0), ValueError, "image 0 has values from 200 to 200"),
        (torch.zeros(2, 28, 28, dtype=torch.int64), TypeError, "image 0 has dtype torch.int64"),
        (torch.zeros(5, 28, 28, dtype=torch.uint8), ValueError, "image 0 has 5 channels: expected 1"),
        (np.zeros((28, 28, 4), np.uint8), ValueError, "image 0 has 4 channels: expected 1"),
        (torch.zeros(28, dtype=torch.uint8), ValueError, r"image 0 has shape \(28,\)"),
        (np.zeros((1, 1, 1, 28, 28), np.uint8), ValueError, r"image 0 has shape \(1, 1, 1, 28, 28\)"),
        (3, TypeError, "images: expected a path, a PIL image, a tensor, an array"),
        (None, TypeError, "images: expected a path"),
        ([None], TypeError, "image 0 is a NoneType"),
        ("nowhere.png", FileNotFoundError, r"nowhere\.png does not exist"),
        (__file__, ValueError, "cannot be read as an image"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_image_is_refused_by_its_position(agent, images, kind, message):
    with pytest.raises(kind, match=message):
        agent.predict(images)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_agent_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'mnist'.*: expected one of mnist-dtram, or the path"):
        glimpse_env.load_agent("mnist")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        glimpse_env.load_agent(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*checkpoint\.pt"):
        glimpse_env.load_agent(tmp_path)
    with pytest.raises(TypeError, match="checkpoint=3: expected a path or a name"):
        glimpse_env.load_agent(3)
    (tmp_path / "text.pt").write_text("")
    with pytest.raises(ValueError, match=r"text\.pt is not readable as a checkpoint"):
        glimpse_env.load_agent(tmp_path / "text.pt")
    checkpoint.save(tmp_path / "other.pt", {"kind": "backbone"})
    with pytest.raises(ValueError, match=r"other\.pt is a checkpoint of a backbone: expected one of a agent"):
        glimpse_env.load_agent(tmp_path / "other.pt")


def test_a_run_s_folder_stands_for_its_checkpoint(tmp_path):
    saved = save(build_ram(192), {"glimpse_size": 8})
    checkpoint.save(tmp_path / "checkpoint.pt", saved)
    agent = glimpse_env.load_agent(tmp_path)
    same(agent.predict(pictures(2)), glimpse_env.load_agent(tmp_path / "checkpoint.pt").predict(pictures(2)))
    assert "test on /nowhere, 4 classes, at most 3 glimpses; stops when" in repr(agent)


def test_importing_the_package_does_not_wait_for_agents():
    code = "import sys, glimpse_env; assert 'glimpse_env.networks' not in sys.modules; glimpse_env.load_agent"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'load_agents'"):
        glimpse_env.load_agents  # noqa: B018


def test_the_page_s_example_runs(capsys):
    example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    exec(compile(example, "trained-agents.md", "exec"), {})
    assert capsys.readouterr().out.startswith("['7', '2', '1', '0', '4'] [")
