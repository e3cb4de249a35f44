"""The papers' tables as data, the runs they are made of, and the rows that those leave: see benchmarks/reproduce.py."""
