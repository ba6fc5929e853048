"""Shared by several commands: options, tables, printing, probes."""
