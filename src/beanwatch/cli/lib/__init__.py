"""Code that several commands share: options, tables, output and probes."""
