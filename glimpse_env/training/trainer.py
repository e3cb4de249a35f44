"""`Run`: all around a training loop: start, resume, progress, logs, checkpoints, several processes.

The loop itself is in the agent's script, which computes the losses: agents/ram_reinforce.py is an example.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn
from tqdm import tqdm

from glimpse_env.runtime import checkpoint, distributed, terminal
from glimpse_env.runtime.precision import Precision, named
from glimpse_env.training import resume, run_folder
from glimpse_env.training.epoch import Epoch, Progress
from glimpse_env.training.finetuning import choose_weights
from glimpse_env.training.optimizers import Optimizer
from glimpse_env.training.options import check_numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


HasState = torch.optim.Optimizer | Optimizer


class Run:
    """One training run, in one process or in several that torchrun started. Open it with `Run.open`.

    The functions in `after_save` are called with the run after each checkpoint; one that raises
    KeyboardInterrupt ends it like Ctrl-C.
    """

    after_save: ClassVar[list[Callable[[Run], None]]] = []
    file, kind = "checkpoint.pt", "agent"  # the checkpoint's file name and kind (see `checkpoint.load`)
    compared: ClassVar[Collection[str] | None] = None  # see `resume.load_resumable`

    def __init__(self, agent: str, options: Any) -> None:
        """Store the run's name and options; called by `open`."""
        self.agent, self.options = agent, options
        self.checkpoint: Path = resume.checkpoint_path(agent, options, self.file)
        self.saved: dict[str, Any] | None = None  # the checkpoint to resume
        self.progress = Progress()
        self.extra_state: Callable[[], Mapping[str, Any]] = dict  # further contents of a checkpoint
        self.writer: SummaryWriter | None = None
        self.network: nn.Module | None = None
        self._identity: dict[str, Any] = {}
        self._optimizer: HasState | None = None
        self._stages = 0  # number of calls of `epochs`
        self._in_loop = self._finished = self._is_saved = False
        self._replaced: list[Path] = []  # files of the run that this one replaces

    @classmethod
    @contextmanager
    def open(
        cls, agent: str, options: Any, check: Callable[[Any], None] | None = None, alone: bool = False
    ) -> Iterator[Self]:
        """Open a run: join the other processes, seed torch, claim the folder (see `run_folder.claim`).

        With `options.resume` its checkpoint is loaded.

        Args:
            agent: Name in file names and rows.
            options: The script's options (a `RunOptions`); `run.options` name the device that "auto" stands
                for.
            check: Raises a ValueError for options that are invalid, besides numbers outside their ranges.
            alone: The agent cannot train in several processes.

        Raises:
            SystemExit: Invalid options or files, with the reason in one sentence; status 130 after Ctrl-C;
                status 1 in torchrun's other processes.
        """
        run = cls(agent, terminal.prepare(options))
        with run._explained(), ExitStack() as stack:
            check_numbers(run.options)
            if alone:
                distributed.refuse(agent)
            stack.enter_context(distributed.join(run.options.device))
            torch.manual_seed(options.seed)
            if check is not None:
                check(run.options)
            run.options = choose_weights(run.options, run.checkpoint)
            claimed = run_folder.claim(run.checkpoint.parent, run.options)
            run._replaced = stack.enter_context(claimed)
            if options.resume:
                run._load()
            stack.enter_context(terminal.interruptible(run._describe_saved))
            stack.callback(run.close)
            yield run

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """End the program with one sentence after errors of options, files or other processes."""
        try:
            yield
        except (ValueError, OSError, ImportError) as error:
            is_file = isinstance(error, OSError)
            if self._in_loop and not is_file:  # an error of the program, not of its input or its disk
                raise
            text = terminal.format_error(error, self.checkpoint.parent)
            if self._finished:
                evaluate = f"repeat it with agents/evaluate.py {self.checkpoint}"
                text = f"training is finished, its evaluation is not: {evaluate}; {text}"
            elif is_file and self._optimizer is not None and self._is_saved:
                text = f"{text}; {self._describe_saved()}"
            raise SystemExit(f"{self.agent}: {text}" if distributed.first() else 1) from error
        except RuntimeError as error:
            if not distributed.is_lost(error):
                raise
            ended = f"another process ended ({str(error).splitlines()[0]})"
            raise SystemExit(f"{self.agent}: {ended}; {self._describe_saved()}") from error

    def close(self) -> None:
        """Write what TensorBoard has not written yet."""
        if self.writer is not None:
            self.writer.close()

    def _load(self) -> None:
        """Load the checkpoint to resume."""
        self.saved = resume.load_resumable(
            self.checkpoint, self.agent, self.options, self.kind, self.compared
        )
        self.progress, self._is_saved = Progress(**self.saved["progress"]), True

    def _describe_saved(self) -> str:
        """Return what remains of the run when it ends now."""
        if self._is_saved and self.checkpoint.is_file():
            return f"{self.checkpoint} holds the last finished epoch; resume with --resume"
        return "nothing was saved yet; start it again"

    def start(
        self, network: nn.Module, identity: Mapping[str, Any], device: torch.device, seconds: float = 0.0
    ) -> None:
        """Set the run's network, which is on `device`; load its state when the run is resumed.

        `identity`: contents of a checkpoint from which network and environment can be rebuilt (see
        `resume.describe`); a run is resumed only on the same data. `seconds`: training time of the network
        before this run.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and --help does not need it

        self.network, self.device = network, device
        precision: Precision = getattr(self.options, "precision", "float32")  # not all agents have the option
        self.precision = distributed.broadcast(named(precision, device))  # processes may differ in CPU
        self._identity = {**identity, "precision": str(self.precision)}
        if self.saved is not None:
            resume.check_data(self.checkpoint, self.saved, self._identity)
            self.restore(self.saved)
        else:
            self.progress.seconds = seconds
            run_folder.remove(self._replaced if distributed.first() else ())
        self.writer = SummaryWriter(str(self.checkpoint.parent)) if distributed.first() else None

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Load the network's weights from a checkpoint."""
        assert self.network is not None
        self.network.load_state_dict(saved["network"])

    def epochs(self, count: int, stage: str, optimizer: HasState) -> Iterator[Epoch]:
        """Yield the remaining epochs of a stage; record and save after each.

        Stages are numbered in the order of the calls; in a resumed run, finished stages yield nothing. The
        optimiser's state is saved with the network, and loaded when the run is resumed within this stage.
        """
        number, progress = self._stages, self.progress
        self._stages += 1
        if progress.stage > number:
            return
        self._optimizer = optimizer
        if self.saved is not None:
            optimizer.load_state_dict(self.saved["optimizer"])
            self.saved = None
        self.save()
        with tqdm(disable=not distributed.first(), desc=stage, unit="update", dynamic_ncols=True) as bar:
            while progress.epoch < count:
                epoch = Epoch(self, stage, count, bar)
                self._in_loop = True
                yield epoch
                self._in_loop = False
                epoch.record()
                self.save()
        progress.stage, progress.epoch = progress.stage + 1, 0

    def rounds(self, count: int, optimizer: HasState | None, every: int, steps: int) -> Iterator[int]:
        """Yield the remaining rounds' numbers (from 0): for algorithms whose episodes outlast an update.

        Each of the `count` rounds collects `steps` environment steps, summed over all rows, and updates; one
        in `every` is logged and saved (see `is_due`). Random numbers are not seeded for each round: the state
        of the generators belongs in `extra_state`. The optimiser is saved and loaded with the network; None
        where `write` and `restore` are overridden.
        """
        self._optimizer, self._rounds, progress = optimizer, (count, every, steps), self.progress
        if self.saved is None:
            self.save()
        elif optimizer is not None:
            optimizer.load_state_dict(self.saved["optimizer"])
        known = {"total": count * steps, "initial": progress.epoch * steps, "unit": "step"}
        with tqdm(**known, unit_scale=True, dynamic_ncols=True) as self._bar:
            self._started = time.monotonic() - progress.seconds
            for done in range(progress.epoch, count):
                self._in_loop = True
                yield done
                self._in_loop = False
                self._bar.update(steps)

    def is_due(self, done: int) -> bool:
        """Return whether this round is logged: every `every`-th round of `rounds`, and the last."""
        count, every, _ = self._rounds
        return (done + 1) % every == 0 or done + 1 == count

    def log_round(self, done: int, measures: Mapping[str, float]) -> None:
        """Show a round's measures, add them to history and TensorBoard (by environment steps), and save."""
        self._bar.set_postfix_str(terminal.live(measures))
        self.progress.epoch, self.progress.seconds = done + 1, time.monotonic() - self._started
        self.record({"epoch": done + 1}, measures, (done + 1) * self._rounds[2])
        self.save()

    def record(self, row: Mapping[str, Any], measures: Mapping[str, float], number: int) -> None:
        """Add a row to the history, and its measures to TensorBoard as those of step `number`."""
        self.progress.history.append({**row, "seconds": round(self.progress.seconds, 2), **measures})
        if self.writer is not None:
            for name, value in measures.items():
                self.writer.add_scalar(name, value, number)

    def save(self) -> None:
        """Write the checkpoint, in the first process only, and call the hooks."""
        if distributed.first():
            self.write()
        self._is_saved = True
        for hook in self.after_save:
            hook(self)

    def write(self) -> None:
        """Write the checkpoint atomically."""
        assert self.network is not None
        assert self._optimizer is not None
        content = {"kind": self.kind, **self._identity, "network": self.network.state_dict()}
        content |= {"optimizer": self._optimizer.state_dict(), "progress": asdict(self.progress)}
        checkpoint.save(self.checkpoint, {**content, **self.extra_state()})

    def finish(self) -> None:
        """End the training: wait until the first process has written the last checkpoint."""
        distributed.wait()
        self._finished = True
