"""Programs that are installed with the package: `glimpse-evaluate`, `glimpse-predict`, `glimpse-export`.

The scripts of the same names in `agents/` run them from a copy of the repository, without installing it.
"""
