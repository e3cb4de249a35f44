"""Shared by all tests: shapes are checked on every call, one thread, a small data set of distinct images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from beartype import BeartypeConf, beartype
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import Tensor

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for pyright

with jaxtyping.install_import_hook("glimpse_env", f"{__name__}.typechecker"):
    import glimpse_env  # noqa: F401 - imported here so that the hook sees every module
    from glimpse_env import Backbone, GlimpseVectorEnv
    from glimpse_env.evaluation.trajectories import Trajectories
    from glimpse_env.runtime import devices
    from glimpse_env.training import trainer

# The longest files: started last they would end alone.
FIRST = ("test_processes", "test_fcan_stages", "test_finetuning", "test_views", "test_export_file")

# Examples of a fuzz test that sets no number itself: "ci" draws the same few each time; "thorough"
# draws new ones, as many as GLIMPSE_EXAMPLES says, and is in use where that is set.
EXAMPLES = int(os.environ.get("GLIMPSE_EXAMPLES", "0"))
UNCHECKED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile(
    "ci", max_examples=200, derandomize=True, deadline=None, suppress_health_check=UNCHECKED
)
settings.register_profile(
    "thorough",
    max_examples=EXAMPLES or 50_000,
    deadline=None,
    suppress_health_check=UNCHECKED,
    print_blob=True,
)
settings.load_profile("thorough" if EXAMPLES else "ci")

IMAGES, SIDE, CLASSES, HORIZON = 23, 12, 5, 4


def four_trajectories() -> Trajectories:
    """Return trajectories of four images, two steps; thresholds below .9 stop half of them at once."""
    return Trajectories(
        index=torch.arange(4),
        labels=torch.tensor([0, 0, 0, 0]),
        predictions=torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]]),
        confidence=torch.tensor([[0.95, 0.95, 0.4, 0.4], [1.0, 1.0, 1.0, 1.0]]),
        stop=torch.zeros(2, 4),
        locations=torch.zeros(2, 4, 2),
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: item.path.stem not in FIRST)


class Noise(torch.utils.data.Dataset):
    """23 grey images of 12 x 12 random pixels in 5 classes: no two alike, so pixels identify an image."""

    classes = tuple("abcde")

    def __init__(self) -> None:
        """Draw the pixels."""
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        """Return the number of images."""
        return IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image and its class."""
        if not 0 <= index < IMAGES:
            raise IndexError(index)
        return self.images[index], index % CLASSES


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from threads, and other processes want the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cpu_by_default() -> Iterator[None]:
    """`--device auto` is the CPU, so that tests compute the same on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "best", lambda mps=True: devices.Choice("cpu", "the tests'"))
        yield


@pytest.fixture(autouse=True)
def threads_given_back(one_thread: None) -> Iterator[None]:
    """Undo what a test changes, so that those after it are no slower."""
    yield
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # scripts switch it on


@pytest.fixture(scope="session", autouse=True)
def counted_once() -> Iterator[None]:
    """Count a network's flops once for every size of image: counting takes longer than computing."""
    known: dict[tuple, int] = {}
    count = Backbone.flops

    def flops(self: Backbone, height: int, width: int, *, of_map: bool = False) -> int:
        key = (self.name, self.node, self.map_node, height, width, of_map)
        if key not in known:
            known[key] = count(self, height, width, of_map=of_map)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone, "flops", flops)
        yield


@pytest.fixture
def interrupt() -> Iterator[Callable[[int], None]]:
    """Return a function: interrupt the next trainings after that many checkpoints; 0 = never."""
    hooks = trainer.Run.after_save

    def arrange(saves: int) -> None:
        hooks.clear()
        left = [saves]

        def count(run: trainer.Run) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        if saves:
            hooks.append(count)

    yield arrange
    hooks.clear()


@pytest.fixture
def with_figures() -> None:
    """Asked for by tests of the figures that a run leaves behind."""


@pytest.fixture(autouse=True)
def without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a run's figures out: they take longer to draw than a small run takes, and few tests need them."""
    if "with_figures" not in request.fixturenames:
        monkeypatch.setattr("glimpse_env.reports.run_report.write_plots", lambda *_: None)
        monkeypatch.setattr("glimpse_env.reports.svg.render_chart", lambda *_, **__: "")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Leave wrong types to the package itself, as outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def noise() -> Noise:
    """The small data set."""
    return Noise()


@pytest.fixture(scope="session")
def make(noise: Noise) -> Callable[..., GlimpseVectorEnv]:
    """Build the core over the small data set: 4 x 4 glimpses, horizon 4."""
    defaults = {"image_size": SIDE, "glimpse_size": 4, "first_view": "glimpse", "max_glimpses": HORIZON}

    def build(num_envs: int = 4, **options: object) -> GlimpseVectorEnv:
        return GlimpseVectorEnv(num_envs, noise, **(defaults | options))

    return build


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Write a folder of class folders with noise, on which `paint(pixels, name, number)` marks the class."""

    def write(
        classes: tuple[str, ...],
        counts: tuple[int, int],
        paint: Callable[[np.ndarray, str, int], None],
        shape: tuple[int, int] = (32, 32),
        level: int = 100,
    ) -> str:
        folder = tmp_path_factory.mktemp("pictures")
        noise = np.random.default_rng(0)
        for split, count in zip(("train", "test"), counts, strict=True):
            for name in classes:
                (folder / split / name).mkdir(parents=True)
                for number in range(count):
                    pixels = noise.integers(0, level, (*shape, 3), dtype=np.uint8)
                    paint(pixels, name, number)
                    Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
        return str(folder)

    return write


@pytest.fixture(scope="session")
def halves(painted: Callable[..., str]) -> Callable[..., str]:
    """Write two classes of pictures, left or right half bright."""

    def brighten(pixels: np.ndarray, name: str, number: int) -> None:
        middle = pixels.shape[1] // 2
        pixels[:, slice(middle) if name == "left" else slice(middle, None)] += 100

    return lambda counts, shape=(32, 32): painted(("left", "right"), counts, brighten, shape)


@pytest.fixture(scope="session")
def act() -> Callable[..., dict[str, Tensor]]:
    """Draw an action for every row from a seed; `stop` overrides the random stops (one in three)."""

    def draw(rows: int, seed: int, stop: object = None) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        location = torch.rand(rows, 2, generator=generator) * 2 - 1
        prediction = torch.rand(rows, CLASSES, generator=generator)
        drawn = (torch.rand(rows, generator=generator) < 1 / 3).long()
        return {
            "location": location,
            "prediction": prediction,
            "stop": drawn if stop is None else torch.as_tensor(stop).long().expand(rows),
        }

    return draw
