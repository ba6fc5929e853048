"""What several commands share: options, tables, printing, probes."""
