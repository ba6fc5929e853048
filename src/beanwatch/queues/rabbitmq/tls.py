"""RabbitMQ with its management API over HTTPS: the same system on another default port."""

from beanwatch.queues.rabbitmq import SYSTEM as PLAIN

SYSTEM = PLAIN._replace(default_port=15671)
