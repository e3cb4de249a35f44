"""Trained agents outside of training: `load_agent` for programs, and files that run without the package."""
