"""Nagios and Icinga plugins: each module is one check and one command."""
