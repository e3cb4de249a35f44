"""Data sets that are drawn by a generator instead of read from files, with the true location of the target."""
