"""Readers of beanstalkd and Redis, and the collector that sends what they read to Graphite."""
