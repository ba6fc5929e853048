"""Carries out actions in the background, a few at a time, with progress and a way to stop."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import ServerError
from beanwatch.store.audit import AuditEntry, write_audit
from beanwatch.web.plans.plan import Plan, PlanError
from beanwatch.web.sources import Sources

MAX_RUNNING = 4
MAX_KEPT = 50  # actions that ended, for their results
MAX_LINES = 200  # of results of an action
MAX_LINE = 64 * 1024  # characters; the stacks of a worker are one text


class BusyError(Exception):
    """Too many actions run; the text says so."""


class Action:
    """An action that was started. Its thread writes the fields, the event loop reads them."""

    def __init__(self, name: str, plan: Plan, who: str) -> None:
        self.id = secrets.token_hex(8)
        self.name, self.who, self.title, self.planned = name, who, plan.title, plan.jobs
        self.noun = plan.noun
        self.state, self.note, self.done = "running", "", 0
        self.lines: list[str] = []
        self.dropped_lines = 0
        self.started_at = time.time()
        self.ended_at = 0.0
        self.stop = threading.Event()

    def add(self, text: str) -> None:
        """Keep a line of the results, if there is room."""
        if len(self.lines) < MAX_LINES:
            self.lines.append(text[:MAX_LINE])
        else:
            self.dropped_lines += 1

    def tree(self) -> dict[str, Any]:
        """Return the fields as objects that JSON can hold."""
        return {
            "id": self.id,
            "action": self.name,
            "who": self.who,
            "title": self.title,
            "planned": self.planned,
            "done": self.done,
            "noun": self.noun,
            "state": self.state,
            "note": self.note,
            "lines": list(self.lines),
            "dropped_lines": self.dropped_lines,
            "started_at": self.started_at,
            "ended_at": self.ended_at or None,
        }


class Runner:
    """Starts actions, and keeps the last ones. `log` gets a text when one starts and ends."""

    def __init__(self, sources: Sources, log: Callable[[str], object]) -> None:
        self._sources, self._log = sources, log
        self._actions: OrderedDict[str, Action] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, name: str, plan: Plan, who: str) -> Action:
        """Start an action in a thread. Raises BusyError."""
        action = Action(name, plan, who)
        with self._lock:
            running = sum(one.state == "running" for one in self._actions.values())
            if running >= MAX_RUNNING:
                raise BusyError(f"{running} actions still run; wait, or stop one of them")
            self._actions[action.id] = action
            for ident in list(self._actions):
                if len(self._actions) <= MAX_KEPT:
                    break
                if self._actions[ident].state != "running":
                    del self._actions[ident]
        thread = threading.Thread(target=self._run, args=(action, plan), name="web-action")
        thread.daemon = True
        thread.start()
        return action

    def find(self, ident: str) -> Action | None:
        """Return an action by its id."""
        return self._actions.get(ident)

    def list(self) -> list[Action]:
        """Return the actions that are kept, the newest first."""
        with self._lock:
            return list(reversed(self._actions.values()))

    def _run(self, action: Action, plan: Plan) -> None:
        self._record(action, "started", action.planned)
        state, note = "done", ""
        try:
            for part in plan.run():
                action.done += part.done
                if part.text:
                    action.add(part.text)
                if action.done >= action.planned and not part.text:
                    continue
                if action.stop.is_set():
                    state = "stopped"
                    break
        except (ServerError, RedisError, PlanError) as error:
            state, note = "failed", str(error)
        except Exception as error:
            state = "failed"
            note = f"internal error, please report it: {type(error).__name__}: {error}"
        action.note, action.ended_at = note, time.time()
        self._record(action, state, action.done)
        action.state = state

    def _record(self, action: Action, state: str, jobs: int) -> None:
        note = f": {action.note}" if action.note else ""
        who = action.who or "a viewer"
        self._log(f"{who}: {action.title}: {state}, {jobs} of {action.planned}{note}")
        if self._sources.redis is None:
            return
        entry = AuditEntry(
            id=action.id,
            who=who,
            action=action.name,
            what=action.title,
            state=state,
            jobs=jobs,
            note=action.note,
        )
        try:
            self._sources.query(lambda execute: write_audit(execute, entry))
        except RedisError as error:
            action.add(f"not written to the audit list: {error}")
            self._log(f"cannot write to the audit list: {error}")
