"""Serves the worker's metrics to Prometheus, and says to probes whether the worker works."""
