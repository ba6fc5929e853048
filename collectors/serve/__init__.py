"""Serves the last poll of each server to Prometheus, and says whether the collector works."""
