"""RAM: a recurrent network learns where to look, with a fixed number of glimpses (Mnih et al. 2014, as trained by Li et al. 2017).

    python agents/ram_reinforce.py                    # MNIST on a CPU, minutes
    python agents/ram_reinforce.py --long             # half an hour on two cores
    python agents/ram_reinforce.py --paper            # the papers' own settings

Deviations of the default settings from the papers, each undone by `--paper`: glimpse features gated by Fourier features of the location,
small affine augmentation, a regression on the present p(label) as baseline, the gain in p(label) of every glimpse as reward, later glimpses
only while the answer is not sure, a narrowing location policy, Muon.
"""

from __future__ import annotations

from glimpse_env.training.options import Options, parse
from glimpse_env.training.recipes import DATASETS, LONG, PAPER
from glimpse_env.training.run import execute
from glimpse_env.training.stages import look_stage

RECIPES = {"paper": PAPER, "long": LONG}

if __name__ == "__main__":
    options = parse(Options, RECIPES, DATASETS, __doc__ or "")
    execute("ram_reinforce", options, lambda network, horizon: [lambda: look_stage(options, network, horizon)])
