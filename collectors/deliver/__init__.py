"""Deliver points to Graphite. Every point is sent, or counted as dropped."""
