"""The program that writes the dashboards and alert rules. It is not in the wheel."""
