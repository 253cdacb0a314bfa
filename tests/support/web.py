"""A server on this machine that answers as it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple


class Answer(NamedTuple):
    """What is sent for a path: status, body, its type, further headers, and the bytes that are held back."""

    body: bytes = b""
    status: int = 200
    kind: str = "image/png"
    headers: Mapping[str, str] = {}
    missing: int = 0


@contextmanager
def server(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Serve the answers by path; gives the address that stands before each. Other paths are answered by 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path, Answer(status=404, kind="text/html"))
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) - answer.missing])

        def log_message(self, *what):
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}"
    finally:
        serving.shutdown()
        serving.server_close()
