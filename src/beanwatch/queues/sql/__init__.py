"""Queue systems that keep their jobs in tables of PostgreSQL, MariaDB or MySQL.

Each module named in `registry.LAYOUTS` describes one framework's tables. The rest is shared: the
connections, the reader and the actions.
"""
