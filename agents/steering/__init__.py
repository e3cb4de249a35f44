"""What the agents of torchrl share: networks of a policy that steers, its agent, and the run."""
