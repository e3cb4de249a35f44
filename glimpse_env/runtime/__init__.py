"""Files, checkpoints, processes, precision, devices and the terminal: what programs need and what knows nothing of glimpses."""
