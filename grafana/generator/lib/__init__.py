"""The parts that the dashboards and the alert rules are made of."""
