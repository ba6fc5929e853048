"""The data that beanwatch keeps in Redis: heartbeats, the ledger of runs, and outcome counts."""
