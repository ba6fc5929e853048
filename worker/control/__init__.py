"""Orders to workers: their messages, who sends them, and who obeys."""
