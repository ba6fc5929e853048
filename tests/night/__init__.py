"""A night of an operator: a real fleet, the generated configuration, troubles, and the mails.

`make night` plays it on Nagios and on Icinga 2.
"""
