"""`make demo`: run all servers, cause faults on purpose, and check that each alert arrives."""
