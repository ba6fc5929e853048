"""One table says everything about an outcome."""

import subprocess
import sys

from tests.real import ROOT

NEW_ROW = """
import sys
from beanwatch import outcomes
known = set(sys.modules)
new = outcomes.Outcome(
    "shelved", "put away", "pink", level="critical",
    is_failure=True, was_run=False, may_be_buried=True, is_deleted=True, warning="were shelved",
)
outcomes.OUTCOMES += (new,)
outcomes.NAMES += ("shelved",)
"""


def with_new_row(code: str) -> str:
    """What code prints in a process where the table has one more row."""
    done = subprocess.run(
        [sys.executable, "-c", NEW_ROW + code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_row_is_all_that_a_new_outcome_needs():
    found = with_new_row(
        "from beanwatch.checks import job_failures as check\n"
        "from beanwatch.cli.lib import job_view\n"
        "from beanwatch.grafana.generator.lib import states\n"
        "from beanwatch.worker.monitor.sinks import ledger_writer, log_sink, metrics\n"
        "from tests.operations import reference\n"
        "print(log_sink.LEVELS['shelved'], 'shelved' in ledger_writer.BURIES,\n"
        "    'shelved' in metrics.NOT_RUN, 'shelved' in check.FAILED_OUTCOMES,\n"
        "    check.OUTCOME_WARNINGS['shelved'],\n"
        "    'shelved' in job_view.DELETED, states.OUTCOMES['shelved'],\n"
        "    'shelved' in states.FAILURES, 'shelved' in states.SERIOUS,\n"
        "    '| `shelved` | put away |' in reference.outcomes(), sep=',')\n"
    )
    assert found == "critical,True,True,True,were shelved,True,pink,True,True,True\n"


def test_the_table_loads_nothing_that_a_check_does_not_need():
    heavy = ("msgspec", "structlog", "click", "rich", "redis", "greenstalk")
    assert with_new_row(f"print([name for name in {heavy!r} if name in known])") == "[]\n"
