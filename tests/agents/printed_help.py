"""Print, as JSON, the help of the given scripts, and the slow packages that were imported to print it.

All scripts run in this one process, so that torch is imported once.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import torch  # noqa: F401 - what torch imports by itself is not counted

SLOW = {
    "torchvision",
    "tensorboard",
    "matplotlib",
    "scipy",
    "pandas",
    "stable_baselines3",
    "sb3_contrib",
    "ray",
    "torchrl",
    "torch._dynamo",
}
EARLIER = set(sys.modules)
ROOT = Path(__file__).parents[2]


def imported():
    """Return the slow packages among what was imported after torch."""
    return sorted(SLOW & (set(sys.modules) - EARLIER))


def help_of(script):
    """Return what a script prints for --help, and its exit status."""
    sys.argv, printed, status = [script, "--help"], io.StringIO(), None
    sys.path[0] = str(Path(script).parent)  # as Python has it: scripts import their neighbours by bare names
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code
    for name, module in list(
        sys.modules.items()
    ):  # a script must not find what another folder's script has imported
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(ROOT) and not name.startswith(
            ("glimpse_env", "__main__")
        ):
            del sys.modules[name]
    return {"text": printed.getvalue(), "status": status, "slow": imported()}


import glimpse_env  # noqa: E402, F401

package = imported()
print(json.dumps({"package": package, "scripts": {script: help_of(script) for script in sys.argv[1:]}}))
