"""Files, checkpoints, processes, precision, devices, command-line logging; knows nothing of glimpses."""
