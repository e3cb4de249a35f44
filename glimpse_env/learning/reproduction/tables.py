"""Every table and figure that benchmarks/reproduce.py makes. A new one is one entry here, or in the file of its paper."""

from __future__ import annotations

from glimpse_env.learning.reproduction import dtram_tables, fcan_tables, sermanet_tables
from glimpse_env.learning.reproduction.table import Table

TABLES: dict[str, Table] = {**dtram_tables.TABLES, **sermanet_tables.TABLES, **fcan_tables.TABLES}
