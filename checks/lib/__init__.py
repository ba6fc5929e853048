"""Code that the checks share: process, output, state file, data sources, installation."""
