"""Find the ledger's records of the jobs that are buried now, also after a restart of the server."""

from collections.abc import Sequence

from beanwatch.net.redis_url import Execute
from beanwatch.queues.base import Actions
from beanwatch.queues.model import QueueState
from beanwatch.store.ledger import BuriedJob, OnRejected, find_buried, find_buried_elsewhere, ignore
from beanwatch.worker.api.decoders import decode_foreign
from beanwatch.worker.api.envelope import Envelope, EnvelopeError
from beanwatch.worker.decoders import DECODERS


def find_recorded(
    execute: Execute,
    actions: Actions,
    instance: str,
    queue: QueueState,
    *,
    limit: int | None = None,
    on_rejected: OnRejected = ignore,
) -> list[BuriedJob]:
    """Return the records of the jobs that are buried in this queue now, ordered by their ids.

    `instance` identifies the server's process. A server that was restarted with its binlog still
    has the jobs under their numbers, but the workers recorded them under its previous instance.
    Such a record counts if the buried job has the envelope id that was recorded. `limit` is the
    number of jobs of each kind of record that are looked up, those buried last; None: all.
    `on_rejected` is called for each record that cannot be read. Raises ServerError and RedisError.
    """
    records = _last_buried(find_buried(execute, instance, queue.name, on_rejected), limit)
    still = _still_buried(actions, queue.name, records)
    found = {one.job_id: one for one in records if one.job_id in still}
    if queue.buried is not None and len(found) >= queue.buried:
        return [found[job_id] for job_id in sorted(found)]
    records = find_buried_elsewhere(execute, instance, queue.name, on_rejected)
    records = _last_buried([one for one in records if one.job_id not in found], limit)
    still = _still_buried(actions, queue.name, records)
    for one in records:
        if one.job_id in still:
            envelope = read_envelope(actions, str(one.job_id))
            if envelope is not None and envelope.id == one.uuid:
                found[one.job_id] = one
    return [found[job_id] for job_id in sorted(found)]


def read_envelope(actions: Actions, job_id: str) -> Envelope | None:
    """Return the envelope of a job; None if there is no such job or it has none.

    Formats that only a decoder of an application knows are not read. Raises ServerError.
    """
    try:
        return decode_foreign(DECODERS, actions.body(job_id) or b"")
    except EnvelopeError:
        return None


def _last_buried(records: Sequence[BuriedJob], limit: int | None) -> list[BuriedJob]:
    ordered = sorted(records, key=lambda one: one.buried_at)
    return ordered if limit is None else ordered[-limit:]


def _still_buried(actions: Actions, queue: str, records: Sequence[BuriedJob]) -> set[int]:
    """Return the ids of those records whose jobs are buried in this queue now."""
    found = actions.find([str(number) for number in {one.job_id for one in records}])
    return {int(job.id) for job in found if job.state == "buried" and job.queue == queue}
