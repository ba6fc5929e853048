"""Writes the dashboards and alert rules; not in the wheel."""
