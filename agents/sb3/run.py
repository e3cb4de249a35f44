"""`Sb3Run`: a training run whose model Stable-Baselines3 saves itself."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from glimpse_env.runtime import checkpoint, files
from glimpse_env.training.trainer import Run


class Sb3Run(Run):
    """A `Run` of an on-policy algorithm of Stable-Baselines3. Set `model` and `venv` before `start`.

    model.zip is the library's own file: the policy and its optimiser. classifier.pt holds the learned
    classifier of `--action steering`. run.pt is written last: progress, image order, and the moment of
    training that the other two must be of.
    """

    file, kind = "run.pt", "Stable-Baselines3 run"
    model: Any  # an `OnPolicyAlgorithm`; the library is optional, and so are its types
    venv: Any  # the `GlimpseVecEnv` that it trains on

    @property
    def moment(self) -> list[int]:
        """Environment steps taken, and updates of the classifier."""
        return [self.model.num_timesteps, self.venv.classifier.updates if self.venv.classifier else 0]

    def write(self) -> None:
        """Write model.zip, classifier.pt where there is a classifier, and last run.pt, each atomically."""
        content = io.BytesIO()
        self.model.save(content)
        files.write_bytes(self.checkpoint.with_name("model.zip"), content.getvalue())
        if self.venv.classifier:
            self.venv.classifier.save(self.checkpoint.with_name("classifier.pt"))
        state = {"progress": asdict(self.progress), "core": self.venv.core.state_dict()}
        state |= {"kind": self.kind, "moment": self.moment}
        checkpoint.save(self.checkpoint, self._identity | state)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Load the classifier and the image order.

        Every row begins its next image, and random numbers are seeded by this moment.

        Raises:
            ValueError: model.zip and classifier.pt are not of the moment of run.pt.
        """
        if self.venv.classifier:
            self.venv.classifier.load(self.checkpoint.with_name("classifier.pt"))
        if self.moment != saved["moment"]:
            moments = f"{self.moment} steps and updates, run.pt is at {saved['moment']}"
            raise ValueError(
                f"{self.checkpoint.parent}: model.zip and classifier.pt are at {moments}: "
                "they were not written together; train again without --resume"
            )
        self.model.set_random_seed((self.options.seed * 97 + self.model.num_timesteps) % 2**31)
        self.venv.load_state_dict(saved["core"])
