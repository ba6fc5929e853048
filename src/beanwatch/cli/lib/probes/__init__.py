"""The probes of `beanwatch doctor`: each tests one kind of server, or the checks."""
