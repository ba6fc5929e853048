"""Dashboards and alert rules for Grafana, and the code that generates them."""
