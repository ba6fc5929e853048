"""Keeps a job within its time, and the worker from harming its host."""
