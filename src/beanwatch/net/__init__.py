"""Network and operating system: addresses, connections, Redis, HTTP, systemd, files, processes."""
