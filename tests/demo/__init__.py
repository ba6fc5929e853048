"""`make demo`: the whole chain on real servers, trouble made on purpose, every alert received."""
