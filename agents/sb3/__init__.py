"""Parts of the Stable-Baselines3 scripts: the training run on disk, and a policy as an `Agent`."""
