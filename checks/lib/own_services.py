"""The list of what has a service of its own. A catch-all service judges everything else.

`beanwatch install` writes the list as a file. A catch-all service names it with `--services`,
because a command line of Nagios (8 KB) has no room for the names of all queues.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from beanwatch.globs import matches, name_of
from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from beanwatch.checks.lib.plugin_process import Parser


MAX_FILE = 64 * 1024 * 1024  # bytes


class OwnServices(NamedTuple):
    """The queues, workers and kinds of jobs that have a service of their own."""

    queues: Mapping[str, Sequence[str]] = {}  # names and globs, by `Server.node`
    workers: Sequence[str] = ()  # ids and globs
    jobs: Sequence[tuple[str, str]] = ()  # (queue, job)

    def to_json(self) -> str:
        """Return the content of the file: one JSON object, a name on each line."""
        return json.dumps(self._asdict(), indent=0) + "\n"


def parse_own_services(text: bytes) -> OwnServices:
    """Parse the content of the file. Raises ValueError."""
    tree = json.loads(text)
    if not isinstance(tree, dict) or set(tree) != set(OwnServices._fields):
        raise ValueError(f"expected a JSON object with the keys {', '.join(OwnServices._fields)}")
    queues, workers, jobs = tree["queues"], tree["workers"], tree["jobs"]
    if not isinstance(queues, dict) or not all(map(_is_texts, [workers, *queues.values()])):
        raise ValueError("expected lists of strings in queues and workers")
    if not isinstance(jobs, list) or not all(_is_texts(job) and len(job) == 2 for job in jobs):
        raise ValueError("expected pairs of strings in jobs")
    return OwnServices(queues, workers, [(queue, job) for queue, job in jobs])


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def read_own_services(path: str) -> OwnServices:
    """Read the file. Raises OSError, and ValueError for content that is not such a list."""
    from beanwatch.file_access import read_plain_file  # only catch-all services read such a file

    return parse_own_services(read_plain_file(path, MAX_FILE))


def add_services(parser: "Parser", what: str) -> None:
    """Add `--services FILE`. Its value is an OwnServices, or None if it was not given."""
    parser.add_argument(
        "--services",
        type=_services_argument,
        default=None,
        metavar="FILE",
        help=f"check only {what} that have no other service; `beanwatch install` writes this file, "
        "which lists those that have one",
    )


def _services_argument(path: str) -> OwnServices:
    try:
        return read_own_services(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{path} is not a list of services: {error}") from None


def owner_finder(names: Iterable[str]) -> Callable[[str], str | None]:
    """Return a function of a queue's name: it returns the entry of `names` with its service.

    That is its own name, or else the first glob that matches: one service only, so that one cause
    is one alert. None: it has no service of its own.
    """
    only = {glob: name_of(glob) for glob in names}
    plain = {name: glob for glob, name in only.items() if name is not None}
    globs = [glob for glob, name in only.items() if name is None]

    def find(name: str) -> str | None:
        return plain.get(name) or next((glob for glob in globs if matches(name, glob)), None)

    return find


def matcher(names: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells if a name is in `names` or matches one of the globs in it."""
    only = {glob: name_of(glob) for glob in names}
    plain = frozenset(only.values())
    globs = [glob for glob, name in only.items() if name is None]
    return lambda name: name in plain or any(matches(name, glob) for glob in globs)
