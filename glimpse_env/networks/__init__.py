"""The agents' networks."""
