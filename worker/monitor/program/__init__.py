"""The watched program of a WorkerMonitor: its state, its thread, its forks."""
