"""The instrumented beanstalkd worker and its handler API."""
