"""Monitoring and alerting for job queues and the workers that run their jobs."""

__version__ = "0.2.0"
