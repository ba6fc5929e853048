"""A small fake of IronMQ's HTTP API, version 3, made from its documentation. No real one was there.

https://github.com/iron-io/docs/blob/gh-pages/mq/3/reference/api/index.md
"""

import http.server
import json
import threading
from itertools import count
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "secret-token"
PROJECT = "5f1e"
BASE = f"/3/projects/{PROJECT}/queues"
DEFAULT_PAGE = 30


class IronMq:
    """A server on a free port, without TLS.

    `queues` has the settings of each queue, and its messages in "messages". `requests` are the
    methods and paths that it was asked. `lies` are sent in place of the truth, by the start of a
    path; `headers` with each reply.
    """

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.lies: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.max_page = 100
        self._ids = count(1)
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 30

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.requests.append(f"{self.command} {self.path}")
                lie = next((v for k, v in fake.lies.items() if self.path.startswith(k)), None)
                status, reply = 200, lie
                if lie is None:
                    if self.headers.get("Authorization") != f"OAuth {TOKEN}":
                        status, tree = 401, {"msg": "Unauthorized"}
                    else:
                        status, tree = fake.answer(self.command, self.path, body)
                    reply = json.dumps(tree).encode()
                self.send_response(status)
                for name, value in fake.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply or b"")

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"ironmq+http://{self.address}/{PROJECT}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def create(self, name: str, *bodies: str, **settings: Any) -> None:
        """Create a queue with messages."""
        self.queues[name] = {
            "name": name,
            "total_messages": 0,
            "message_timeout": 60,
            "message_expiration": 604800,
            "type": "pull",
            **settings,
            "messages": [],
        }
        self.put(name, *bodies)

    def put(self, name: str, *bodies: str) -> None:
        queue = self.queues[name]
        queue["total_messages"] += len(bodies)
        queue["messages"] += [
            {"id": str(next(self._ids)), "body": body, "reserved_count": 0} for body in bodies
        ]

    def bodies(self, name: str) -> list[str]:
        return [message["body"] for message in self.queues[name]["messages"]]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the reply, as the documentation describes them."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == BASE:
            return 200, self._list(query)
        name, _, rest = parts.path.removeprefix(f"{BASE}/").partition("/")
        queue = self.queues.get(unquote(name))
        if queue is None:
            return 404, {"msg": "Queue not found"}
        if not rest and method == "GET":
            shown = {key: value for key, value in queue.items() if key != "messages"}
            return 200, {"queue": {**shown, "size": len(queue["messages"])}}
        if rest == "messages" and method == "GET":
            return 200, {"messages": queue["messages"][: min(100, int(query.get("n", 1)))]}
        tree = json.loads(body or b"{}")
        if rest == "messages" and method == "POST":
            self.put(unquote(name), *(message["body"] for message in tree["messages"]))
            return 201, {"msg": "Messages put on queue."}
        if rest == "messages" and method == "DELETE":
            ids = {one["id"] for one in tree["ids"]}
            assert 0 < len(ids) <= 100
            queue["messages"] = [one for one in queue["messages"] if one["id"] not in ids]
            return 200, {"msg": "Deleted"}
        return 405, {"msg": "Method not allowed"}

    def _list(self, query: dict[str, str]) -> Any:
        size = min(self.max_page, int(query.get("per_page", DEFAULT_PAGE)))
        names = [
            name
            for name in sorted(self.queues)
            if name > query.get("previous", "") and name.startswith(query.get("prefix", ""))
        ]
        return {"queues": [{"name": name} for name in names[:size]]}
