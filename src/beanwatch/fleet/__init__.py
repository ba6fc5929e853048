"""What commands and the page share: all servers, queues and workers at a glance."""
