"""A Graphite on the ports that the pages name: `python -m tests.operations.graphite_here DIR`."""

import signal
import sys
from pathlib import Path

from tests.real import ROOT, Graphite
from tests.real.graphite import _CARBON_CONF

SCHEMAS = ROOT / "collectors" / "graphite" / "storage-schemas.conf"


def main(directory: Path) -> None:
    """Run until told to stop."""
    graphite = Graphite(directory, storage_schemas=SCHEMAS)
    carbon, web = graphite._carbon, graphite._web
    carbon.port, carbon.pickle_port, carbon.query_port, web.port = 2003, 2004, 7002, 8080
    ports = {"line": 2003, "pickle": 2004, "query": 7002}
    (directory / "conf" / "carbon.conf").write_text(_CARBON_CONF.format(root=directory, **ports))
    with graphite:
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
