"""The data in Redis: heartbeats, the ledger of jobs, and counts of outcomes."""
