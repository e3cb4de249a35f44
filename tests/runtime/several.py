"""Runs scripts one after another in each of torchrun's processes: `several.py '[["agents/ram_reinforce.py", "--seed", "3"]]'`."""

import json
import os
import runpy
import sys
from pathlib import Path

from torch import distributed

BETWEEN = "--- next script ---"

if __name__ == "__main__":
    join, leave = distributed.init_process_group, distributed.destroy_process_group
    distributed.init_process_group = lambda *given, **more: (
        None if distributed.is_initialized() else join(*given, **more)
    )
    distributed.destroy_process_group = lambda: (
        None
    )  # the processes meet once: torchrun's meeting place serves one meeting
    try:
        for script, *options in json.loads(sys.argv[1]):
            if os.environ["RANK"] == "0":
                print(BETWEEN, flush=True)
            sys.argv = [script, *options]
            sys.path.insert(0, str(Path(script).parent))  # as Python does for a script
            runpy.run_path(script, run_name="__main__")
    finally:
        leave()
