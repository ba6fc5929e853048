"""Runs any program as a watched worker: `beanwatch run`."""
