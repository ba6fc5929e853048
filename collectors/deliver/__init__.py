"""Deliver points to Graphite without losing any quietly."""
