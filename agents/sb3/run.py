"""`Sb3Run`: a training run whose model Stable-Baselines3 saves itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from glimpse_env.runtime import checkpoint, files
from glimpse_env.training.trainer import Run


def pack(save: Callable[[io.BytesIO], object]) -> UInt8[Tensor, " byte"]:
    """Return the bytes of a file that `save` writes."""
    content = io.BytesIO()
    save(content)
    return torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)


def unpack(content: UInt8[Tensor, " byte"]) -> io.BytesIO:
    """Return the file whose bytes `pack` returned."""
    return io.BytesIO(content.numpy().tobytes())


class Sb3Run(Run):
    """A `Run` of an algorithm of Stable-Baselines3. Set `model` and `venv` before `start`.

    run.pt holds all that a resumed run needs, in one atomic write: progress, image order, the library's own
    file of the policy and its optimiser, and the learned classifier of `--action steering`. model.zip and
    classifier.pt are copies of the last two, written after it, for other programs.
    """

    file, kind = "run.pt", "Stable-Baselines3 run"
    model: Any  # a `BaseAlgorithm`; the library is optional, and so are its types
    venv: Any  # the `GlimpseVecEnv` that it trains on

    @property
    def moment(self) -> list[int]:
        """Environment steps taken, and updates of the classifier."""
        return [self.model.num_timesteps, self.venv.classifier.updates if self.venv.classifier else 0]

    def write(self) -> None:
        """Write run.pt, then model.zip, and classifier.pt where there is a classifier, each atomically."""
        classifier = self.venv.classifier
        state = {"progress": asdict(self.progress), "core": self.venv.core.state_dict()}
        state |= {"kind": self.kind, "moment": self.moment, "model": pack(self.model.save)}
        if classifier:
            state["classifier"] = pack(partial(torch.save, classifier.describe()))
        checkpoint.save(self.checkpoint, self._identity | state)
        files.write_bytes(self.checkpoint.with_name("model.zip"), unpack(state["model"]).getvalue())
        if classifier:
            classifier.save(self.checkpoint.with_name("classifier.pt"))

    def find_model(self) -> Path | io.BytesIO:
        """Return the library's file to resume from; runs of earlier versions have it beside run.pt alone.

        Raises:
            FileNotFoundError: It is not there.
        """
        assert self.saved is not None
        if "model" in self.saved:
            return unpack(self.saved["model"])
        file = self.checkpoint.with_name("model.zip")
        if not file.is_file():
            raise FileNotFoundError(f"--resume: {file} is missing; train again with --overwrite")
        return file

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Load the classifier and the image order.

        Every row begins its next image, and random numbers are seeded by this moment.

        Raises:
            ValueError: A run of an earlier version whose model.zip and classifier.pt are not of the moment of
                run.pt.
        """
        classifier, place = self.venv.classifier, self.venv.core.device
        if classifier and "classifier" in saved:
            content = torch.load(unpack(saved["classifier"]), map_location=place, weights_only=True)
            classifier.restore(content, str(self.checkpoint))
        elif classifier:
            classifier.load(self.checkpoint.with_name("classifier.pt"))
        if self.moment != saved["moment"]:
            moments = f"{self.moment} steps and updates, run.pt is at {saved['moment']}"
            raise ValueError(
                f"{self.checkpoint.parent}: model.zip and classifier.pt are at {moments}: "
                "they were not written together; train again with --overwrite"
            )
        self.model.set_random_seed((self.options.seed * 97 + self.model.num_timesteps) % 2**31)
        self.venv.load_state_dict(saved["core"])
