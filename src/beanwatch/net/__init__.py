"""Addresses, connections, timeouts, name lookups, systemd, and files that hold state."""
