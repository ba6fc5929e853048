"""The units, on a Debian of its own that systemd has booted: `make setup-test` makes it."""
