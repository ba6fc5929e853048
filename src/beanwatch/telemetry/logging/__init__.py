"""Logging for the worker and the collector, with structlog: set-up, rendering and output."""
