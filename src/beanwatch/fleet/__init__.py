"""Shared by commands and the web page: the overview, actions on queues, jobs and workers.

Nothing here prints or asks.
"""
