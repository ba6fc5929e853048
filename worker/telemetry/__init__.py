"""What a worker reports: metrics, log lines, heartbeats, the ledger of runs and outcome counts."""
