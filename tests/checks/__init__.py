"""The checks, as processes against real servers."""
