"""Parts of `sb3_ppo.py`: its training run on disk, and a policy of Stable-Baselines3 as an `Agent`."""
