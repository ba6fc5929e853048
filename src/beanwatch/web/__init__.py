"""The live page: what every queue and worker does now, and what to do about it.

One reader polls the servers and Redis for all viewers (snapshot.py). Each page is a function from
its snapshot to data (pages/), which is shown as HTML, JSON, or a stream of changes.
"""
