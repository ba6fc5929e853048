"""The errors of a connection to a database, and their texts."""

from beanwatch.queues.base import ServerError
from beanwatch.quoting import terminal_text

MISSING, DENIED, LOCKED, TOO_LONG, VERSION = range(5)
# SQLSTATEs of PostgreSQL, numbers of MariaDB and MySQL.
CAUSES: dict[str | int, int] = {
    "42P01": MISSING,  # undefined_table
    1146: MISSING,
    "42501": DENIED,  # insufficient_privilege
    1044: DENIED,  # of a database
    1142: DENIED,  # of a table
    1143: DENIED,  # of a column
    "55P03": LOCKED,  # lock_timeout
    1205: LOCKED,
    "57014": TOO_LONG,  # statement_timeout
    1969: TOO_LONG,  # MariaDB
    3024: TOO_LONG,  # MySQL
    "42703": VERSION,  # undefined_column
    "42883": VERSION,  # undefined_function
    "22P02": VERSION,  # no such label of an enum
    1054: VERSION,
}
TEXTS = {
    MISSING: "the table is missing: {message}",
    DENIED: "the user lacks a right: {message}",
    LOCKED: "another transaction has locked its tables ({message})",
    TOO_LONG: "the query took longer than {timeout:g} s ({message})",
    VERSION: "the tables are not those of a supported version: {message}",
}


class SqlError(ServerError):
    """The database refused a statement. The connection is as it was before the statement."""


class MissingError(SqlError):
    """A table does not exist, or may not be read."""


class LostError(ServerError):
    """The connection failed; it must be opened anew."""


def make_error(server: object, code: str | int, message: str, timeout: float) -> SqlError:
    """Return the error for a server's code and its own message. `timeout` is in seconds."""
    cause = CAUSES.get(code, -1)
    kind = MissingError if cause in (MISSING, DENIED) else SqlError
    return kind(
        f"{server}: {TEXTS.get(cause, '{message}').format(message=message, timeout=timeout)}"
    )


def one_line(text: str) -> str:
    """Return a server's message as one printable line of at most 300 characters."""
    return terminal_text(" ".join(text.split()))[:300]
