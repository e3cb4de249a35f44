"""Gymnasium's AsyncVectorEnv: environments in processes that are forked, spawned, or of a fork server."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import gymnasium, torch
import glimpse_env

class Tiny:
    classes = ("a", "b")
    def __len__(self):
        return 6
    def __getitem__(self, index):
        if index > 5:
            raise IndexError(index)
        return torch.full((3, 64, 64), 10 * index, dtype=torch.uint8), index % 2

if __name__ == "__main__":
    torch.set_num_threads(4)
    torch.rand(2000, 2000).sum().item()  # starts torch's threads, as a user's own work does
    options = {"vectorization_mode": "async", "vector_kwargs": {"context": sys.argv[1]}}
    envs = gymnasium.make_vec("GlimpseEnv-v0", num_envs=1, dataset=Tiny(), image_size=48, **options)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(3):
        observation = envs.step(envs.action_space.sample())[0]
    print(observation["glimpse"].shape)
    envs.close()
"""


@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_environments_in_other_processes(tmp_path, context: str) -> None:
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {context}")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, str(script), context]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "(1, 3, 12, 12)\n", done.stderr
