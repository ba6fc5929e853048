"""The log: events become lines, and lines are written without harm to the writer."""
