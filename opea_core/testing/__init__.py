"""A scripted OpenAI-compatible server with real sockets, for tests of anything that talks to one.

``ScriptedServer`` is the server; pytest has it as the fixture ``opea_server``, the shell as
``opea fake``. ``chat``, ``stream``, ``sse``, ``error``, ``html``, ``json_answer`` and ``raw`` build
an ``Answer``; ``Wait``, ``Hold`` and ``Forever`` are steps between its bytes; ``tool_call`` is a
call for ``chat(tool_calls=...)``, ``chunk`` an event for ``sse``. ``faults`` has what bad servers
and networks do: ``server.script(faults.cut, faults.status(503))``.
"""

from opea_core.testing import faults
from opea_core.testing.answers import (
    Answer,
    Forever,
    Hold,
    Wait,
    chat,
    chunk,
    error,
    html,
    json_answer,
    raw,
    sse,
    stream,
    tool_call,
)
from opea_core.testing.faults import FAULTS, Fault, in_turn, sometimes
from opea_core.testing.rate_limits import ABSURD_WAITS, STATED_WAITS
from opea_core.testing.record import Seen
from opea_core.testing.server import ScriptedServer

__all__ = [
    "ABSURD_WAITS",
    "FAULTS",
    "STATED_WAITS",
    "Answer",
    "Fault",
    "Forever",
    "Hold",
    "ScriptedServer",
    "Seen",
    "Wait",
    "chat",
    "chunk",
    "error",
    "faults",
    "html",
    "in_turn",
    "json_answer",
    "raw",
    "sometimes",
    "sse",
    "stream",
    "tool_call",
]
