"""What a worker reports: metrics, log, heartbeat, ledger and outcome counts."""
