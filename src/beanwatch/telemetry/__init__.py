"""The names of all series, lines for Graphite, and the log."""
