"""torchrl: the batched core as one of its own environments, for its collectors, transforms and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import checks
from glimpse_env.adapters.learned_classifier import LearnedClassifier, Teaching
from glimpse_env.vector_env import GlimpseVectorEnv
from glimpse_env.wrappers.flat import FlatAction

if TYPE_CHECKING:
    from glimpse_env.adapters.torchrl_env import GlimpseTorchRLEnv

Form = Literal["box", "multidiscrete", "steering", "dict"]


def make_torchrl_env(
    num_envs: int,
    dataset: Any = "mnist",
    *,
    form: Form = "box",
    teaching: Teaching | None = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> GlimpseTorchRLEnv:
    """Return a batch of episodes as torchrl's `EnvBase`, in torch on `device` throughout.

    torchrl restarts rows whose episode ended (AutoresetMode.DISABLED).

    Args:
        num_envs: Rows.
        dataset: As `GlimpseVectorEnv`.
        form: Of the action: "box" or "multidiscrete", see `FlatAction`; "steering": x, y, stop, and a
            `LearnedClassifier` predicts; "dict": the environment's own action, as nested entries.
        teaching: Sizes and training of the classifier of "steering"; None = the defaults.
        device: As `GlimpseVectorEnv`.
        options: Other arguments of `GlimpseVectorEnv`, without autoreset_mode.

    Raises:
        ImportError: torchrl is not installed.
        ValueError: An unknown form, an autoreset mode, or what the core refuses.
    """
    try:
        from glimpse_env.adapters.torchrl_env import GlimpseTorchRLEnv
    except ImportError as error:
        raise ImportError(
            f"make_torchrl_env needs torchrl, which cannot be imported ({error}): pip install -e '.[torchrl]'"
        ) from error
    checks.choice("form", form, get_args(Form))
    if "autoreset_mode" in options:
        mode = f"autoreset_mode={checks.show(options['autoreset_mode'])}"
        raise ValueError(f"{mode}: torchrl needs DISABLED, which is set here; leave it out")
    if teaching is not None and form != "steering":
        raise ValueError(f"teaching= with form={form!r}: only form='steering' has a classifier")
    core = GlimpseVectorEnv(
        num_envs, dataset, device=device, autoreset_mode=AutoresetMode.DISABLED, **options
    )
    if form == "dict":
        return GlimpseTorchRLEnv(core)
    if form == "steering":
        return GlimpseTorchRLEnv(LearnedClassifier(core, teaching))
    return GlimpseTorchRLEnv(FlatAction(core, form))
