"""Commands from operators to running workers: stop, restart, wait, resume, status and dump."""
