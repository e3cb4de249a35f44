"""Stable-Baselines3 learns where to look and when to stop: PPO, A2C, or sb3-contrib's RecurrentPPO.

    pip install -e ".[sb3]"
    python agents/sb3_ppo.py                            # PPO on MNIST; a learned classifier predicts
    python agents/sb3_ppo.py --algo recurrent_ppo       # a policy with a memory
    python agents/sb3_ppo.py --action multidiscrete     # the policy predicts too

The library takes the batched core as one of its vector environments (`glimpse_env.adapters.sb3`). gamma is 1:
the cost of a glimpse is in the reward. The default is the increase of p(label) minus a price for every
further glimpse (Glance-and-Focus' reward), so the return is the final p(label) minus the cost of the
glimpses; `--reward delayed --price 0` gives discount^t for a correct prediction after t glimpses (DT-RAM,
section 3.3). A gamma below 1 would count that cost twice.

With `--action steering`, stops are ignored during the first part of the run (`--ignore-stops`), as DT-RAM is
trained after RAM: an untrained classifier is no better after seven glimpses than after one, so the policy
would learn to stop at once, and the classifier would never see a second glimpse.

Writes run.pt (for `--resume`), model.zip and classifier.pt (copies from it, for other programs), result.json
(the same evaluation as every agent's: each test image once, deterministic actions), looks.npz, TensorBoard
logs and plots.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from sb3.policy import PolicyAgent
from sb3.run import Sb3Run

from glimpse_env import Delayed, GlimpseVectorEnv, Reward, rewards
from glimpse_env.adapters.learned_classifier import Teaching
from glimpse_env.adapters.policy import describe
from glimpse_env.datasets import held_out
from glimpse_env.evaluation import stopping_rules, trajectories
from glimpse_env.reports import results
from glimpse_env.sensors import Mirrorable, Repaintable
from glimpse_env.training import environments
from glimpse_env.training.augment import Changes, renew
from glimpse_env.training.command_line import parse
from glimpse_env.training.optimizers import warm_up_and_decay
from glimpse_env.training.options import ResumableOptions, RewardName, View

LIBRARIES = ("stable-baselines3", "sb3-contrib")
LOGGED = 20  # rows of the history at most; the run is saved with each


@dataclass(frozen=True)
class EpisodeOptions:
    """Episodes, their actions and rewards."""

    action: Literal["steering", "box", "multidiscrete"] = "steering"
    """steering: x, y, stop; a learned classifier predicts. box: x, y, stop, class scores. multidiscrete: a
    cell of a grid (--grid a side), stop, a class."""
    num_envs: int = 256
    """Number of rows: episodes that run in parallel."""
    total_steps: int = 4_000_000
    """Number of environment steps, summed over all rows."""
    reward: RewardName = "confidence_gain"
    """Reward function: confidence_gain, the increase of p(label), with a --price for every glimpse; delayed,
    the papers' (use it with --price 0, since its discount is a price); or another one."""
    price: float = 0.01
    """Cost of every glimpse after the first, subtracted from the reward."""
    discount: float = 0.98
    """--reward delayed: a correct prediction after t glimpses gives discount^t; lower values stop sooner."""
    ignore_stops: float = 0.35
    """With --action steering: fraction of the steps, at the start, in which stops are ignored, so that the
    classifier is trained on all glimpses."""
    augment: bool = True
    """Random augmentation: small rotations, scalings and shifts (pixel sensor), or left-right flips."""


@dataclass(frozen=True)
class AlgorithmOptions:
    """The library's algorithm."""

    algo: Literal["ppo", "a2c", "recurrent_ppo"] = "ppo"
    """Algorithm."""
    n_steps: int = 32
    """Steps of each row per update of the policy (A2C usually takes 5)."""
    batch_size: int = 2048
    """Steps per minibatch (PPO)."""
    n_epochs: int = 2
    """Number of passes over the steps per update (PPO)."""
    learning_rate: float = 1e-3
    """Learning rate of the policy at the start; it decreases linearly."""
    gae_lambda: float = 0.8
    """Lambda of the generalised advantage estimate."""
    entropy_weight: float = 0.0
    """Weight of the policy's entropy."""
    log_std: float = -1.6
    """Logarithm of the Gaussian policy's standard deviation at the start."""
    stop_bias: float = -0.3
    """Initial mean of the Gaussian stop action, which stops above 0; below 0, first episodes are long."""
    lstm: int = 64
    """Units of the LSTM (recurrent_ppo)."""


@dataclass(frozen=True)
class EnvironmentOptions(ResumableOptions, View, EpisodeOptions):
    """The environment that the library's algorithms collect from."""

    classifier: Teaching = field(default_factory=Teaching)
    """Learned classifier, with --action steering."""


@dataclass(frozen=True)
class Sb3Options(EnvironmentOptions, AlgorithmOptions):
    """Options of `sb3_ppo.py`."""


def build_reward(options: EpisodeOptions) -> Reward:
    """Return the reward function."""
    reward = Delayed(options.discount) if options.reward == "delayed" else rewards.make(options.reward)
    return rewards.Priced(reward, options.price) if options.price else reward


def build_environment(options: EnvironmentOptions) -> Any:
    """Return the vector environment that the library collects from."""
    from glimpse_env.adapters.sb3 import make_sb3_env

    arguments: dict[str, Any] = environments.view(options)
    arguments |= {"split": options.split, "device": options.device}
    arguments |= {"action": options.action, "flat": True, "reward": build_reward(options)}
    arguments |= {"teaching": options.classifier} if options.action == "steering" else {}
    venv: Any = make_sb3_env(options.num_envs, **arguments)
    if options.augment and not isinstance(venv.core.sensor, Repaintable | Mirrorable):
        sensor = f"{type(venv.core.sensor).__name__} can show neither changed nor mirrored images"
        raise ValueError(f"--augment: {sensor}: use --no-augment")
    return venv


def build_model(run: Sb3Run) -> Any:
    """Return the library's algorithm, new or as it was saved, with a TensorBoard logger."""
    try:
        from sb3_contrib import RecurrentPPO
        from stable_baselines3 import A2C, PPO
        from stable_baselines3.common.logger import configure
        from stable_baselines3.common.vec_env import VecMonitor
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{error.name} is not installed: pip install -e ".[sb3]"') from error

    options, folder, venv = run.options, run.checkpoint.parent, VecMonitor(run.venv)
    algorithm = {"ppo": PPO, "a2c": A2C, "recurrent_ppo": RecurrentPPO}[options.algo]
    if run.saved is not None:
        model: Any = algorithm.load(run.find_model(), env=venv, device=options.device)
    else:
        policy, sizes = "MlpPolicy", {"log_std_init": options.log_std}
        if options.algo == "recurrent_ppo":  # one LSTM, which the critic reads too: half the work
            policy = "MlpLstmPolicy"
            sizes |= {"lstm_hidden_size": options.lstm, "enable_critic_lstm": False, "shared_lstm": True}
        names = ["learning_rate", "n_steps", "gae_lambda", "seed", "device"]
        names += ["batch_size", "n_epochs"] if options.algo != "a2c" else []
        given = {name: getattr(options, name) for name in names}
        given |= {"policy_kwargs": sizes, "stats_window_size": 20 * options.num_envs}
        model = algorithm(policy, venv, gamma=1.0, ent_coef=options.entropy_weight, **given)
        if options.action != "multidiscrete":
            with torch.no_grad():
                stop = run.venv.core.preset.axes  # the number after the location's
                model.policy.action_net.bias[stop] = options.stop_bias
    model.set_logger(configure(str(folder), ["tensorboard"]))
    return model


def set_learning_rate(model: Any, rate: float) -> None:
    """Set the rate of the next update: the library's own schedules fall within a call of `learn`, a round."""
    model.lr_schedule = lambda _: rate


def train(run: Sb3Run, agent: PolicyAgent, validation: GlimpseVectorEnv | None) -> None:
    """Let the library collect and update, round by round, until `total_steps` were taken."""
    from stable_baselines3.common.utils import safe_mean

    options, model, core, classifier = run.options, run.model, run.venv.core, run.venv.classifier
    steps, total = options.num_envs * options.n_steps, options.total_steps  # of a round, of the run
    rounds = math.ceil(total / steps)
    generator = torch.Generator(core.device).manual_seed(options.seed + model.num_timesteps)
    renewed_at = None  # episodes when the images were last renewed
    model.learn(0, reset_num_timesteps=False)  # resets the environment
    for done in run.rounds(rounds, None, math.ceil(rounds / LOGGED), steps):
        share = done * steps / total
        if classifier is not None:
            classifier.optimizer.anneal(warm_up_and_decay(share, max(1, total // options.num_envs)))
            classifier.obeys_stop = share >= options.ignore_stops
        if renewed_at is None or model.env.episode_count - renewed_at >= len(core.images):
            renewed_at = model.env.episode_count
            renew(core, generator, Changes() if options.augment else None)
        set_learning_rate(model, options.learning_rate * max(1 - (done + 1) * steps / total, 1e-3))
        model.learn(steps, reset_num_timesteps=False, log_interval=1)
        if run.is_due(done):
            measures = {
                "steps": model.num_timesteps,
                "reward": safe_mean([episode["r"] for episode in model.ep_info_buffer]),
                "mean_glimpses": safe_mean([episode["l"] for episode in model.ep_info_buffer]),
                "train_accuracy": safe_mean(model.ep_success_buffer),
            }
            measures |= {} if classifier is None else {"loss": classifier.loss}
            run.log_round(done, measures | validate(agent, validation))


def validate(agent: PolicyAgent, env: GlimpseVectorEnv | None) -> dict[str, float]:
    """Return accuracy and mean glimpses on the held-out images, if there are any."""
    if env is None:
        return {}
    evaluated = trajectories.evaluate(env, agent, env.preset.max_glimpses)
    accuracy, glimpses = evaluated.score_at(stopping_rules.LEARNED.find_stops(evaluated))
    return {"validation_accuracy": accuracy, "validation_glimpses": glimpses}


def check_options(options: EnvironmentOptions) -> None:
    """Refuse invalid options."""
    environments.check_split(options.split)


Build = Callable[[Sb3Run], Any]
Train = Callable[[Sb3Run, PolicyAgent, GlimpseVectorEnv | None], None]


def main(options: Any, build_model: Build = build_model, train: Train = train) -> dict[str, Any]:
    """Train, evaluate once, write the result and return its row; `sb3_sac.py` gives its own two functions."""
    with Sb3Run.open(f"sb3_{options.algo}", options, check_options, alone=True) as run:
        options = run.options
        run.venv = venv = build_environment(options)
        identity, held = describe(run.agent, options, venv.core), held_out(options.split)

        def build(split: str) -> GlimpseVectorEnv:
            return environments.build_evaluation_environment(identity["environment"], split, options.device)

        validation = None if held is None else build(held)
        run.model = build_model(run)
        classifier = venv.classifier and venv.classifier.network
        agent = PolicyAgent(run.model.policy, venv.core, options.action, classifier)
        run.start(agent, identity, venv.core.device)
        train(run, agent, validation)
        split, out = results.choose_result_split(options.split), run.checkpoint.parent
        env = build(split)
        evaluated = trajectories.evaluate(env, agent, env.preset.max_glimpses)
        saved = {**identity, "progress": asdict(run.progress)}
        return results.record(out, saved, env, evaluated, split=split, libraries=LIBRARIES)


if __name__ == "__main__":
    main(parse(Sb3Options, {}, {}, __doc__ or ""))
