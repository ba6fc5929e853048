"""Poll servers: when, what, and what follows from two readings."""
