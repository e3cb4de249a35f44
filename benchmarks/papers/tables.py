"""Every table and figure that benchmarks/reproduce.py makes. A new one is one entry here, or in the file of its paper."""

from __future__ import annotations

from papers import dtram, fcan, sermanet
from reproduction.spec import Table

TABLES: dict[str, Table] = {**dtram.TABLES, **sermanet.TABLES, **fcan.TABLES}
