"""Sinks, which receive the runs of a worker: log, metrics, ledger, counts."""
