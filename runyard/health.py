"""Health: `GET /health` and `GET /metrics` of a service that has no API of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, exposition


class HealthServer:
    """A small HTTP server on a thread of its own."""

    def __init__(self, host: str, port: int, problem: Callable[[], str | None], registry: CollectorRegistry) -> None:
        """Listens at once. `problem`: None when healthy, else why not (503). Raises OSError when the port is in use."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    reason = problem()
                    body = json.dumps({"status": "UP"} if reason is None else {"status": "DOWN", "reason": reason})
                    self._answer(200 if reason is None else 503, "application/json", body.encode())
                elif self.path == "/metrics":
                    self._answer(200, exposition.CONTENT_TYPE_LATEST, exposition.generate_latest(registry))
                else:
                    self._answer(404, "application/json", b'{"message": "only /health and /metrics are here"}')

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Probes come every few seconds: they are not worth a line."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
