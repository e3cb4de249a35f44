"""What a trained agent does, measured: trajectories, stopping rules, fixations, intervals."""
