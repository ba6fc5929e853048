"""The addresses under which a person plans, confirms and stops actions. All of them are POST."""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from beanwatch.config import Config
from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import ServerError
from beanwatch.web.access import Viewer
from beanwatch.web.answers import NO_STORE, answer_error, viewer_of, wants_json
from beanwatch.web.plans import PARAMETERS, make_plan
from beanwatch.web.plans.plan import Context, Plan, PlanError
from beanwatch.web.runner import Action, BusyError, Runner
from beanwatch.web.site import Site, name_viewer
from beanwatch.web.sources import Sources
from beanwatch.web.urls import MAX_VALUE

MAX_BODY = 64 * 1024  # bytes of a form
VALID_FOR = 300.0  # seconds for which a plan can be confirmed
PLAN_TIMEOUT = 15.0  # seconds
MAX_CONFIRMED = 100  # confirmations that are kept, so that none starts two actions


class Actions:
    """Answers the forms. A plan is confirmed with a token that is bound to it and to its viewer.

    A token starts one action: a second click on the button shows the action of the first one.
    """

    def __init__(
        self,
        site: Site,
        sources: Sources,
        config: Config,
        runner: Runner,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._site, self._sources, self._config, self._runner = site, sources, config, runner
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._confirmed: dict[str, asyncio.Future[Action]] = {}  # by token

    def routes(self) -> list[BaseRoute]:
        """Return the addresses."""
        return [
            Route("/actions/plan", partial(self._guarded, self._plan), methods=["POST"]),
            Route("/actions/run", partial(self._guarded, self._run), methods=["POST"]),
            Route("/actions/stop", partial(self._guarded, self._stop), methods=["POST"]),
        ]

    async def _guarded(self, answer: Any, request: Request) -> Response:
        if not viewer_of(request).may_act:
            raise HTTPException(403, "You may look, but not act.")
        try:
            response: Response = await answer(request, await read_form(request))
        except (PlanError, ServerError, RedisError, BusyError) as error:
            return answer_error(self._site, request, 409, "Nothing was done", str(error))
        return response

    async def _plan(self, request: Request, form: dict[str, str]) -> Response:
        viewer = viewer_of(request)
        plan = await self._make(form, viewer)
        until = int((self._clock() + VALID_FOR) * 1e6)
        token = self._sign(form, plan.jobs, hash_names(plan.names), viewer, until)
        tree = {
            "title": plan.title,
            "count": plan.jobs,
            "noun": plan.noun,
            "names": plan.names,
            "warning": plan.warning,
            "is_dangerous": plan.is_dangerous,
            "token": token,
            "form": form,
        }
        if wants_json(request):
            return JSONResponse(tree, 200, NO_STORE)
        html, _ = self._site.fill("plan.html", "", "/actions", {}, viewer, **tree)
        return HTMLResponse(name_viewer(html, viewer), 200, NO_STORE)

    async def _run(self, request: Request, form: dict[str, str]) -> Response:
        viewer = viewer_of(request)
        token = form.pop("token", "")
        planned, names = self._check(token, form, viewer)
        started = self._confirmed.get(token)
        if started is None:
            started = asyncio.ensure_future(self._start(form, viewer, planned, names))
            self._confirmed[token] = started
            if len(self._confirmed) > MAX_CONFIRMED:
                del self._confirmed[next(iter(self._confirmed))]
        try:
            action = await asyncio.shield(started)
        except Exception:
            self._confirmed.pop(token, None)  # nothing was started
            raise
        if wants_json(request):
            return JSONResponse(action.tree(), 202, NO_STORE)
        return RedirectResponse(self._site.urls.page("/action", id=action.id), 303)

    async def _start(
        self, form: Mapping[str, str], viewer: Viewer, planned: int, names: str
    ) -> Action:
        plan = await self._make(form, viewer)
        if plan.jobs > planned:
            raise PlanError(
                f"now it would be {plan.jobs}, and you have confirmed {planned}: plan it again"
            )
        if hash_names(plan.names) != names:
            raise PlanError(
                f"these are not the {plan.noun}s that you confirmed: confirm them again"
            )
        return self._runner.start(form["action"], plan, viewer.name)

    async def _stop(self, request: Request, form: dict[str, str]) -> Response:
        action = self._runner.find(form.get("id", ""))
        if action is None:
            raise PlanError("this action is not known any more")
        action.stop.set()
        if wants_json(request):
            return JSONResponse(action.tree(), 202, NO_STORE)
        return RedirectResponse(self._site.urls.page("/action", id=action.id), 303)

    async def _make(self, form: Mapping[str, str], viewer: Viewer) -> Plan:
        context = Context(self._sources, self._config, self._site.now, viewer.name)
        try:
            return await asyncio.wait_for(asyncio.to_thread(make_plan, form, context), PLAN_TIMEOUT)
        except TimeoutError:
            raise PlanError(f"the servers did not answer within {PLAN_TIMEOUT:g} s") from None

    def _sign(
        self, form: Mapping[str, str], jobs: int, names: str, viewer: Viewer, until: int
    ) -> str:
        fields = {name: value for name, value in form.items() if name != "token"}
        text = json.dumps([sorted(fields.items()), jobs, names, viewer.name, until])
        digest = hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256)
        return f"{jobs}.{until}.{names}.{digest.hexdigest()}"

    def _check(self, token: str, form: Mapping[str, str], viewer: Viewer) -> tuple[int, str]:
        """Return the number of jobs that a token confirms, and a hash of their names.

        Raises PlanError.
        """
        jobs, until, names, _ = (*token.split(".", 3), "", "", "", "")[:4]
        if not (jobs + until).isascii() or not (jobs.isdigit() and until.isdigit()):
            raise PlanError("plan this action first")
        if len(jobs) > 12 or len(until) > 18:
            raise PlanError("plan this action first")
        right = self._sign(form, int(jobs), names, viewer, int(until))
        if not hmac.compare_digest(token.encode("utf-8", "replace"), right.encode()):
            raise PlanError("this confirmation is not for this plan: plan it again")
        if self._clock() > int(until) / 1e6:
            raise PlanError("this plan is older than five minutes: plan it again")
        return int(jobs), names


def hash_names(names: Sequence[str]) -> str:
    """Return a text that is the same for the same names only."""
    return hashlib.blake2b(json.dumps(names).encode(), digest_size=16).hexdigest()


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that actions have. Raises HTTPException if it is too large."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise HTTPException(415, "This address takes a form (application/x-www-form-urlencoded).")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, "This form is too large.")
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    return {
        name: value[:MAX_VALUE] for name, value in pairs if name in PARAMETERS or name == "token"
    }
