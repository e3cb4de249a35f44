"""A training run with Stable-Baselines3: what it is made of, and how it is kept on disk and gone on with."""

# pyright: reportMissingImports=false
from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from glimpse_env import GlimpseVectorEnv
from glimpse_env.adapters.learned_classifier import LearnedClassifier
from glimpse_env.adapters.sb3 import GlimpseVecEnv
from glimpse_env.runtime import checkpoint, files
from glimpse_env.training.trainer import Progress

try:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.utils import set_random_seed
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'{error.name} is not installed: pip install -e ".[sb3]"') from error

KIND = "Stable-Baselines3 run"  # of its checkpoints
ALGORITHMS: dict[str, tuple[Any, str]] = {
    "ppo": (PPO, "MlpPolicy"),
    "a2c": (A2C, "MlpPolicy"),
    "recurrent_ppo": (RecurrentPPO, "MlpLstmPolicy"),
}


@dataclass
class Plan:
    """How a run goes on, and where it stands."""

    venv: GlimpseVecEnv
    identity: dict[str, Any]  # agent, environment (the arguments that rebuild the look at the images), options
    action: str
    total_steps: int
    look_first: float  # share of the steps in which episodes have all glimpses
    augment: bool
    out: Path
    checking: GlimpseVectorEnv | None  # held-out images, absorbing
    seed: int = 0
    records: int = 20  # rows of the history
    progress: Progress = field(default_factory=Progress)

    @property
    def classifier(self) -> LearnedClassifier | None:
        """Return the classifier of steering."""
        return self.venv.env if isinstance(self.venv.env, LearnedClassifier) else None


def save(plan: Plan, model: Any) -> None:  # noqa: ANN401 - an on-policy algorithm of the library
    """Write model.zip, classifier.pt where a classifier learns, and last run.pt, which says what of both belongs together."""
    content = io.BytesIO()
    model.save(content)
    files.write_bytes(plan.out / "model.zip", content.getvalue())
    if plan.classifier is not None:
        plan.classifier.save(plan.out / "classifier.pt")
    stands = {"progress": asdict(plan.progress), "core": plan.venv.core.state_dict(), "moment": moment(plan, model)}
    checkpoint.save(plan.out / "run.pt", {"kind": KIND, **plan.identity, **stands})


def moment(plan: Plan, model: Any) -> list[int]:  # noqa: ANN401
    """Return what tells one moment of a run from another: steps taken, and updates of the classifier."""
    return [model.num_timesteps, plan.classifier.updates if plan.classifier is not None else 0]


def saved_run(out: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.pt says of a run to go on with; it must be one of this agent, with these options."""
    saved = checkpoint.load(out / "run.pt", kind=KIND)
    if saved["agent"] != identity["agent"]:
        raise ValueError(f"{out} holds a run of {saved['agent']}: expected one of {identity['agent']}")
    checkpoint.check_same(out / "run.pt", saved["options"], identity["options"])
    return saved


def go_on(plan: Plan, saved: Mapping[str, Any], algo: str, venv: VecEnv, device: str) -> Any:  # noqa: ANN401
    """Return the algorithm as it was saved, on `venv`; bring classifier, image order and progress to where they were.

    Episodes that were under way are given up: every row begins its next image. What the classifier kept of earlier episodes fills anew, and
    random numbers are drawn from a seed of this moment.

    Raises:
        ValueError: model.zip and classifier.pt are not of the moment of run.pt.
    """
    model = ALGORITHMS[algo][0].load(plan.out / "model.zip", env=venv, device=device)
    if plan.classifier is not None:
        plan.classifier.load(plan.out / "classifier.pt")
    if moment(plan, model) != saved["moment"]:
        raise ValueError(
            f"{plan.out}: model.zip and classifier.pt are at {moment(plan, model)} steps and updates, run.pt is at {saved['moment']}: they "
            "were not written together; train anew"
        )
    plan.venv.load_state_dict(saved["core"])
    plan.progress = Progress(**saved["progress"])
    set_random_seed((plan.seed * 97 + model.num_timesteps) % 2**31)
    return model
