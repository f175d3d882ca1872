"""A scripted OpenAI-compatible server with real sockets, for tests of anything that talks to one.

``ScriptedServer`` is the server. ``chat``, ``stream``, ``sse``, ``error``, ``html``, ``json_answer`` and
``raw`` build an ``Answer``; ``Wait`` and ``Hold`` are steps between its bytes; ``tool_call`` is a call for
``chat(tool_calls=...)``, ``chunk`` an event for ``sse``.
"""

from opea_core.testing.answers import Answer, Hold, Wait, chat, chunk, error, html, json_answer, raw, sse, stream, tool_call
from opea_core.testing.record import Seen
from opea_core.testing.server import ScriptedServer

__all__ = [
    "Answer",
    "Hold",
    "ScriptedServer",
    "Seen",
    "Wait",
    "chat",
    "chunk",
    "error",
    "html",
    "json_answer",
    "raw",
    "sse",
    "stream",
    "tool_call",
]
