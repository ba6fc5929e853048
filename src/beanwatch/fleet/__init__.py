"""Code that commands share: the overview of all servers, actions on queues, jobs and workers.

Nothing here prints or reads input.
"""
