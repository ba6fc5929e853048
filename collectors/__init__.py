"""The collector: polls queue servers and Redis, and sends what they report to Graphite."""
