"""The way of a job through the worker: connect, reserve, run, acknowledge."""
