"""Data sets that are generated, not read from files, with the true location of the target."""
