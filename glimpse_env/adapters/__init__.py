"""Interfaces to other libraries' algorithms; each module needs its library, this package needs none."""
