"""Every table and figure that benchmarks/reproduce.py makes; a new one is one entry in its paper's file."""

from __future__ import annotations

from papers import comparisons, dtram, fcan, ram, sermanet
from reproduction.spec import Table

TABLES: dict[str, Table] = ram.TABLES | dtram.TABLES | comparisons.TABLES | sermanet.TABLES | fcan.TABLES
