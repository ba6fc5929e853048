"""Benchmarks. They print ratios of two things measured in the same run; no test depends on them."""
