"""The heartbeat: the record, its writer, and what it finds of earlier instances."""
