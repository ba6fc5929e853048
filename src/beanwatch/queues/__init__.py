"""The model of queues and servers, and the queue systems, which fill it with a server's numbers."""
