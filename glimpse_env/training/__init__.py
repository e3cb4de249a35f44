"""What agents are trained with: rollouts, losses, optimisers, the training loop."""
