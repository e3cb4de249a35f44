"""An agent's accuracy from its locations alone: every glimpse is another image's, taken at the same location.

    python agents/sermanet_rnn.py --resolutions high --glimpses 1 --epochs 2
    python benchmarks/probes/places_alone.py runs/sermanet_rnn-mnist-0/checkpoint.pt

An agent that observes a context before its first glimpse (Sermanet's) can encode the class in its locations,
without any glimpse. The second column shows how far; chance means not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor

from glimpse_env import Contextual, Sensor
from glimpse_env.evaluation import trajectories
from glimpse_env.networks import registry
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, terminal
from glimpse_env.training import environments
from glimpse_env.training.rollout import Guide


@dataclass(frozen=True)
class PlacesAlone:
    """Options of `places_alone.py`."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """checkpoint.pt of runs of sermanet_rnn.py."""
    device: str = "auto"
    """auto (a CUDA GPU where there is one, else MPS, else the CPU; see the log), cpu, cuda, cuda:1, ..."""
    threads: int = 2
    """CPU threads that torch may use."""


class Elsewhere:
    """A sensor with the glimpses of another image, half a data set away, and the image's own context."""

    whole_first = False
    shows_context = True

    def __init__(self, sensor: Sensor, images: int) -> None:
        """Wrap the sensor of so many images."""
        self.sensor, self.images, self.space = sensor, images, sensor.space
        self.reach, self.windows = sensor.reach, sensor.windows
        self.pixels, self.flops = sensor.pixels, sensor.flops

    def observe(self, index: Tensor, location: Tensor, step: Tensor) -> dict[str, Tensor]:
        """Return the other image's glimpse at this location."""
        return self.sensor.observe((index + self.images // 2) % self.images, location, step)

    def context(self, index: Tensor) -> Tensor:
        """Return the image's own context."""
        assert isinstance(self.sensor, Contextual)
        return self.sensor.context(index)


def measure(path: Path, device: str) -> tuple[float, float]:
    """Return the accuracy of a run's network, and that on its locations with the glimpses of other images."""
    saved = checkpoint.load(path)
    split = results.get_result_split(saved)
    own = results.read_or_write_trajectories(path, (split,), device=device)
    env = environments.build_evaluation_environment(saved["environment"], split, device)
    if not (isinstance(env.sensor, Contextual) and env.sensor.shows_context):
        raise ValueError(f"{path}: {saved['agent']} observes no context; expected a run of sermanet_rnn")
    env.sensor = Elsewhere(env.sensor, len(env.images))
    locations = own.locations.to(env.device)
    guide: Guide = lambda state, index, step: locations[step - 1, index]  # noqa: E731
    network, policy = registry.rebuild(saved).to(env.device), saved["options"]["policy"]
    others = trajectories.evaluate(env, network, env.preset.max_glimpses, policy=policy, guide=guide)
    return own.correct[-1].float().mean().item(), others.correct[-1].float().mean().item()


def main(options: PlacesAlone) -> None:
    """Measure every run, and print the table."""
    options = terminal.prepare(options)
    print(f"{'':<50} {'accuracy %':>10} {'locations alone %':>18}")
    for path in options.checkpoints:
        accuracy, alone = measure(path, options.device)
        print(f"{path.parent.name:<50} {100 * accuracy:>10.2f} {100 * alone:>18.2f}")


if __name__ == "__main__":
    with terminal.foreseen("places_alone.py"):
        main(tyro.cli(PlacesAlone, description=__doc__))
