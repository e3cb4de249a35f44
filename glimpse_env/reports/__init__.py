"""What a run leaves to read and look at: results, plots, report.html, animation."""
