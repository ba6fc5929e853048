"""The collector: polls queue servers and Redis, and sends their numbers to Graphite."""
