"""What commands do for all servers together: the overview, actions on queues, jobs and workers.

Nothing here prints or reads input.
"""
