"""What the agent scripts are built from: networks, losses, rollouts, training, evaluation, checkpoints and plots."""
