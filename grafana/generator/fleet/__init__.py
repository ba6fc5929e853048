"""The Fleet dashboard: is everything all right, and if not, where is the problem?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from beanwatch.grafana.generator.fleet import jobs, now, servers
from beanwatch.grafana.generator.lib import page
from beanwatch.grafana.generator.lib.source import GRAPHITE, Source


def build(source: Source) -> Dashboard:
    """Build the dashboard `beanwatch-fleet`."""
    sections = (
        now.tiles(),
        jobs.queues(),
        jobs.flow(),
        jobs.workers(),
        servers.servers(),
        servers.collectors(),
    )
    return page.page(
        source,
        page.FLEET,
        "beanwatch / Fleet",
        "Is everything all right? Every server, queue and worker at a glance.",
        [page.servers, _queues_shown],
        sections,
        runbook="queue-depth",
    )


def _queues_shown(source: Source) -> page.Made:
    pattern = "pattern such as email_*" if source is GRAPHITE else "regular expression"
    about = f"The queues that the table and the charts show: a name, or a {pattern}."
    return page.text("queues", "Queues", about, source.every)
