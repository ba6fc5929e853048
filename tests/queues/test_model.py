"""The model itself: what is unknown is never 0, and never a number."""

from types import MappingProxyType

from beanwatch.queues.base import Memory, Reader, System
from beanwatch.queues.model import (
    JOB_STATES,
    QUEUE_FIELDS,
    SERVER_FIELDS,
    QueueState,
    ServerState,
    numbers,
)
from beanwatch.queues.registry import all_systems


def test_what_is_unknown_is_no_number():
    assert numbers(QueueState("t"), QUEUE_FIELDS) == {}
    assert numbers(ServerState(), SERVER_FIELDS) == {}
    assert QueueState("t").held is None


def test_what_is_known_is_a_number_and_text_is_none():
    server = ServerState("1.12", "id", 5.5, draining=True, restart_note="x", native={"pid": 7})
    assert numbers(server, SERVER_FIELDS) == {"uptime": 5.5, "draining": 1, "pid": 7}
    queue = QueueState("t", ready=0, head_ready_age=1.5, paused=False)
    values = numbers(queue, QUEUE_FIELDS)
    assert values == {"ready": 0, "head_ready_age": 1.5, "paused": 0}
    assert not [value for value in values.values() if isinstance(value, bool)], "a line has no True"


def test_a_native_number_never_hides_a_field_of_the_same_name():
    queue = QueueState("t", ready=3, native=MappingProxyType({"ready": 99, "own": 1}))
    assert numbers(queue, ("ready",)) == {"ready": 3, "own": 1}


def test_the_jobs_of_a_queue_are_those_of_all_states_that_are_known():
    assert QueueState("t", 1, 2, None, 4).jobs == 7
    assert QueueState("t").jobs == 0


def test_what_systems_declare_are_fields_of_the_model():
    assert set(QUEUE_FIELDS) <= set(QueueState._fields)
    assert set(SERVER_FIELDS) <= set(ServerState._fields)
    assert set(JOB_STATES) <= set(QUEUE_FIELDS)
    systems: list[System] = list(all_systems())
    assert "beanstalkd" in {system.name for system in systems}
    for system in systems:
        assert system.queue_fields <= set(QUEUE_FIELDS)
        assert system.server_fields <= set(SERVER_FIELDS)
        assert "ready" in system.queue_fields
        for field, setting in system.needed_settings:
            assert field in system.queue_fields | system.server_fields
            assert setting in system.settings


def test_a_memory_of_nothing_and_a_reader_of_nothing_do_nothing():
    memory = Memory()
    memory.remember("key", 1)
    memory.keep("key")
    assert memory.recall("key") is None
    assert memory.lasting("key", "token") == 0.0
    Reader().close()
