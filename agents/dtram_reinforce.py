"""DT-RAM: a recurrent network learns where to look and when to stop (Li et al. 2017, arXiv 1703.10332).

    python agents/dtram_reinforce.py                  # MNIST on a CPU, minutes
    python agents/dtram_reinforce.py --long           # half an hour on two cores
    python agents/dtram_reinforce.py --paper          # the paper's own settings
    python agents/dtram_reinforce.py --ram runs/ram_reinforce-mnist-0/checkpoint.pt --gamma 0.98   # stop head for a trained RAM

Two stages, as in the paper: train a RAM with a growing number of glimpses, then teach it to stop for gamma^t if right. Deviations
of the default settings, each undone by `--paper`: those of ram_reinforce.py, and for stopping the exact gradient over all
stopping times, confidence features instead of the recurrent state, and a frozen RAM.
"""

from __future__ import annotations

from glimpse_env.training.options import parse
from glimpse_env.training.recipes import DATASETS, LONG, PAPER, PAPER_STOP
from glimpse_env.training.run import execute
from glimpse_env.training.stages import StopOptions, look_stage, stop_stage

RECIPES = {"paper": {name: recipe | PAPER_STOP for name, recipe in PAPER.items()}, "long": LONG}

if __name__ == "__main__":
    options = parse(StopOptions, RECIPES, DATASETS, __doc__ or "")
    execute(
        "dtram_reinforce",
        options,
        lambda network, horizon: [
            *([] if options.ram else [lambda: look_stage(options, network, horizon)]),
            lambda: stop_stage(options, network, horizon),
        ],
        stop_input=options.stop_input,
        start=options.ram,
    )
