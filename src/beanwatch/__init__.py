"""Monitoring and alerting for beanstalkd queues and the Python workers that drain them."""

__version__ = "0.2.0"
