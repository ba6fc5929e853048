"""Poll servers on a schedule, and compute the series from what they report."""
