"""Interfaces to other libraries' algorithms. Each module needs its library, which is optional; importing this package needs none."""
