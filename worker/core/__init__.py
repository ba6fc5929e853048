"""Runs jobs: connects to beanstalkd, reserves a job, calls its handler, acknowledges the job."""
