"""The path of a job through the worker: connect, reserve, run, acknowledge."""
