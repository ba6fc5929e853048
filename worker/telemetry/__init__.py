"""Reports of a worker: metrics, log lines, heartbeats, the ledger of runs and outcome counts."""
