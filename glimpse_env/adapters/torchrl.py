"""torchrl: the batched numpy environment as one of its own, for its collectors, transforms and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import torch
from gymnasium.vector import AutoresetMode

from glimpse_env import checks
from glimpse_env.env import NumpyVectorEnv
from glimpse_env.wrappers.action_forms import AnsweringForm
from glimpse_env.wrappers.flat import FlatAction

if TYPE_CHECKING:
    from torchrl.envs import GymWrapper  # pyright: ignore[reportMissingImports] - an optional dependency

# Entries of the info that TensorDicts hold beside the observation: for a loss (the label), and for logs.
INFO = {"label": torch.int64, "correct": torch.bool, "loss": torch.float32}
INFO |= {"glimpses": torch.int64, "valid": torch.bool}


def make_torchrl_env(
    num_envs: int, dataset: Any = "mnist", *, form: AnsweringForm = "box", **options: Any
) -> GymWrapper:
    """Return torchrl's own `GymWrapper` on a batch of episodes with a `FlatAction`.

    torchrl restarts rows whose episode ended, through `reset_mask` (AutoresetMode.DISABLED). torchrl 0.14
    refuses NEXT_STEP; with SAME_STEP it reads the terminal observation of a Dict space as zeros, and resets
    once more when all rows end at once.

    Args:
        num_envs: Rows.
        dataset: As `GlimpseVectorEnv`.
        form: Of the action, see `FlatAction`.
        options: Other arguments of `GlimpseVectorEnv`, without autoreset_mode.

    Raises:
        ImportError: torchrl is not installed.
        ValueError: An unknown form, an autoreset mode, or what the core refuses.
    """
    try:
        from torchrl.data import Composite, Unbounded  # pyright: ignore[reportMissingImports]
        from torchrl.envs import GymWrapper, default_info_dict_reader  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"make_torchrl_env needs torchrl, which cannot be imported ({error}): pip install -e '.[torchrl]'"
        ) from error
    checks.choice("form", form, get_args(AnsweringForm))
    if "autoreset_mode" in options:
        mode = f"autoreset_mode={checks.show(options['autoreset_mode'])}"
        raise ValueError(f"{mode}: torchrl needs DISABLED, which is set here; leave it out")
    env = NumpyVectorEnv(num_envs, dataset, autoreset_mode=AutoresetMode.DISABLED, **options)
    shape = (env.num_envs,)
    spec = Composite({name: Unbounded(shape, dtype=kind) for name, kind in INFO.items()}, shape=shape)
    reader = default_info_dict_reader(list(INFO), spec=spec)
    return GymWrapper(FlatAction(env, form)).set_info_dict_reader(reader)
