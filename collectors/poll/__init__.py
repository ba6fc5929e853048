"""Polling of servers: the schedule, the readings, and the series made of them."""
