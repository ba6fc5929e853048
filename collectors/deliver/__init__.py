"""Delivery of points to Graphite: every point is sent, or counted as dropped."""
