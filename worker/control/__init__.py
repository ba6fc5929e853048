"""Commands to workers: their messages, the sender, and the receiver in the worker."""
