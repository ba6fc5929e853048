"""Logging for the worker and the collector: processors render an event, one output writes it."""
