"""Wrappers around the doors: what an algorithm may want added to, or changed in, the environment."""
