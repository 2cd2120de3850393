"""A visitor of the page without a browser: sends what the page sends."""

from __future__ import annotations

import http.client
import json
from typing import Any

import numpy as np

from benchmarks.browser.message import message_parts, payload_of, read_message
from benchmarks.browser.server import Server

FACTS: dict[str, Any] = {
    "user_agent": "Visitor/1",
    "model": None,
    "cores": 4,
    "memory_gib": 8,
    "secure": True,
    "isolated": True,
    "backends": ["wasm"],
    "gpu": None,
    "clock_ms": 0.005,
}


class Visitor:
    """Opens the page of `server` and takes commands."""

    def __init__(self, server: Server, **facts: Any) -> None:
        self.server, self.secret, self.answered = server, "", 0
        self.facts = FACTS | facts

    def request(
        self, method: str, path: str, body: bytes | None = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer; `path` is relative to the page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        own = f"127.0.0.1:{self.server.port}"
        sent = {"Host": own, "Origin": f"http://{own}"} | (headers or {})
        if body is not None:
            sent.setdefault("Content-Length", str(len(body)))
        try:
            connection.putrequest(method, f"/{self.server.token}/{path}", skip_host=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read(), dict(response.headers)
        finally:
            connection.close()

    def hello(self, *, previous: str | None = None) -> int:
        """Opens the page; gives the status."""
        query = f"?previous={previous}" if previous else ""
        status, body, _ = self.request("POST", f"hello{query}", json.dumps(self.facts).encode())
        if status == 200:
            self.secret = json.loads(body)["page"]
        return status

    def turn(self, body: bytes = b"") -> tuple[int, bytes]:
        """Sends a reply, and gets the next command."""
        status, answer, _ = self.request("POST", f"turn?page={self.secret}&answered={self.answered}", body)
        return status, answer

    def command(self, body: bytes = b"") -> tuple[dict[str, Any], list[np.ndarray]]:
        """As `turn`, for a command that is there."""
        status, answer = self.turn(body)
        assert status == 200, (status, answer)
        header, arrays = read_message(answer)
        self.answered = header["number"]
        return header, arrays

    def tell(self, path: str) -> int:
        """Sends `alive` or `leave`; gives the status."""
        return self.request("POST", f"{path}?page={self.secret}", b"")[0]


def reply(outcome: str = "ok", value: str = "", *arrays: np.ndarray) -> bytes:
    """A reply of the page."""
    header = {"outcome": outcome, "value": value}
    return b"".join(message_parts(header, [payload_of(array) for array in arrays]))
