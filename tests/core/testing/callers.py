"""Plain ways to talk to a scripted server."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from opea_core.testing import ScriptedServer

CHAT = "/v1/chat/completions"


def port_of(server: ScriptedServer) -> int:
    return int(server.origin.rpartition(":")[2])


class Caller:
    """One keep-alive connection of the standard library's client."""

    def __init__(self, server: ScriptedServer) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)

    def post(self, body: Any, path: str = CHAT, **headers: str) -> tuple[int, Any]:
        """Status and body: JSON where it is JSON, else text."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request("POST", path, data, headers)
        return self._result()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        self.connection.request("GET", path, headers=headers)
        return self._result()

    def _result(self) -> tuple[int, Any]:
        response = self.connection.getresponse()
        text = response.read().decode()
        is_json = response.headers.get("content-type") == "application/json"
        return response.status, json.loads(text) if is_json else text

    def ask(self, text: str, **options: Any) -> Any:
        """The document of a chat."""
        status, document = self.post({"messages": [{"role": "user", "content": text}], **options})
        assert status == 200, document
        return document

    def events(self, body: Any, path: str = CHAT) -> list[Any]:
        """The events of a stream."""
        status, text = self.post({**body, "stream": True}, path)
        assert status == 200, text
        *events, done = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
        assert done == "[DONE]"
        return [json.loads(event) for event in events]


class Wire:
    """A bare socket."""

    def __init__(self, server: ScriptedServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port_of(server)), timeout=5)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def post(self, body: bytes = b"{}", path: str = CHAT) -> None:
        self.send(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
            % (path.encode(), len(body), body)
        )

    def until(self, end: bytes) -> bytes:
        """What comes up to and including ``end``, and nothing more."""
        data = b""
        while not data.endswith(end):
            piece = self.socket.recv(1)
            assert piece, f"the connection ended after {data!r}"
            data += piece
        return data

    def rest(self) -> bytes:
        """What comes until the server closes."""
        data = b""
        while piece := self.socket.recv(65536):
            data += piece
        return data
