"""The reports of a worker: metrics, log, heartbeat, ledger and outcome counts."""
