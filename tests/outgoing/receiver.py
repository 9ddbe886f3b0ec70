"""A receiver of webhooks over a real socket, which believes nothing: it checks each signature by the specification, with code of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Arrived:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def signatures(self) -> list[str]:
        return self.headers["webhook-signature"].split(" ")

    def signed_with(self, secret: str) -> bool:
        """Standard Webhooks: v1,base64(hmac-sha256(id.timestamp.body)) with the bytes behind whsec_, the timestamp within 5 minutes."""
        assert secret.startswith("whsec_")
        stamp = self.headers["webhook-timestamp"]
        if abs(time.time() - int(stamp)) > 300:
            return False
        content = b".".join([self.id.encode(), stamp.encode(), self.body])
        wanted = base64.b64encode(hmac.new(base64.b64decode(secret[6:]), content, hashlib.sha256).digest()).decode()
        return f"v1,{wanted}" in self.signatures


@dataclass
class Receiver:
    """``answers``: what the next calls get, ``(status, body)`` or ``(status, body, headers)``; then 200."""

    answers: list[tuple[Any, ...]] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Receiver:
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                keeper.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keeper.arrived.append(Arrived(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                status, answer, headers = (*keeper.answers.pop(0), {})[:3] if keeper.answers else (200, b"thanks", {})
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook?for=us"
