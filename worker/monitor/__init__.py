"""The reports of every kind of worker: heartbeat, metrics, log and ledger."""
