"""beanstalkd: its protocol, its numbers, the heads of its queues, and actions on them."""
