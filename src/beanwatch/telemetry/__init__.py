"""The table of all Graphite series, the format of their lines, and logging."""
