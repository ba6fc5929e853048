"""Decoders for the jobs of other frameworks."""
