"""Enforces the time limits of jobs, and cleans up what jobs leave on the host."""
