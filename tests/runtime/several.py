"""Run scripts in turn in each of torchrun's processes: `several.py '[["agents/ram_reinforce.py"]]'`."""

import json
import os
import runpy
import sys
from pathlib import Path

from torch import distributed

BETWEEN = "--- next script ---"

if __name__ == "__main__":
    join, leave = distributed.init_process_group, distributed.destroy_process_group
    # The processes join once: torchrun's rendezvous serves one join.
    distributed.init_process_group = lambda *given, **more: (
        distributed.is_initialized() or join(*given, **more)
    )
    distributed.destroy_process_group = lambda: None
    try:
        for script, *options in json.loads(sys.argv[1]):
            if os.environ["RANK"] == "0":
                print(BETWEEN, flush=True)
            sys.argv = [script, *options]
            sys.path.insert(0, str(Path(script).parent))  # as Python does for a script
            runpy.run_path(script, run_name="__main__")
    finally:
        leave()
