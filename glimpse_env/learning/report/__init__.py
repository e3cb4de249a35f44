"""Reports to open in a browser: one HTML file each, which asks nothing of a server, another file or the network.

`write_run` tells a training run's result, curves and stopping steps, and lets the reader step through what it saw of single images;
`write_table` tells a table of several runs, beside the paper's figures.
"""

from glimpse_env.learning.report.run import write_run
from glimpse_env.learning.report.table import write_table

__all__ = ["write_run", "write_table"]
