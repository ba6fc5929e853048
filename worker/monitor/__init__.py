"""What every kind of worker reports of itself: heartbeat, metrics, log and ledger."""
