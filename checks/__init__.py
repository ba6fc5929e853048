"""Plugins for Nagios and Icinga: each module is one check, run as the command `check_<module>`."""
