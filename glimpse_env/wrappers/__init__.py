"""Wrappers that add to the environment, or change it, for particular algorithms and libraries."""
