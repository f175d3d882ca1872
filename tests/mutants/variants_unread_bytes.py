"""A kept connection that is not asked whether anything has come on it, or that is taken for stale,
or not, in the wrong case.
"""

from __future__ import annotations

from variant import FLOW, TRANSPORT, Variant

_UNREAD_FILE = "opea_core/transport/http/unread_bytes.py"
_LINE = "opea_core/transport/deadline.py"
_AIOHTTP = "opea_core/transport/http/aiohttp_connections.py"
_UNREAD = TRANSPORT + "test_unread_bytes.py"
_OWN = _UNREAD + " -k own_answer"
_ONCE = _UNREAD + " -k sent_again"

VARIANTS = [
    # --- each layer is asked
    Variant(
        "C8: what the parser has left is not asked for",
        _UNREAD_FILE,
        "return state is None or bool(state.trailing_data[0])",
        "return state is None",
        _OWN,
    ),
    Variant(
        "C9: what the parser cannot tell is nothing",
        _UNREAD_FILE,
        "return state is None or bool",
        "return bool",
        _UNREAD,
    ),
    Variant(
        "C8: sync TLS is not asked",
        _UNREAD_FILE,
        "    if isinstance(sock, ssl.SSLSocket) and sock.pending():\n        return True\n",
        "",
        _UNREAD + " -k rest_of_a_record",
    ),
    Variant(
        "C8: sync TLS in TLS is not asked for records",
        _UNREAD_FILE,
        "(incoming.pending or stream.ssl_obj.pending())",
        "stream.ssl_obj.pending()",
        _OWN,
    ),
    Variant(
        "C8: sync TLS in TLS is not asked for the rest of one",
        _UNREAD_FILE,
        "(incoming.pending or stream.ssl_obj.pending())",
        "incoming.pending",
        _UNREAD + " -k rest_of_a_record",
    ),
    Variant(
        "C8: async TLS is not asked for records",
        _UNREAD_FILE,
        "if layer._read_bio.pending or layer._ssl_object.pending():",
        "if layer._ssl_object.pending():",
        _OWN,
    ),
    Variant(
        "C8: async TLS is not asked for the rest of one",
        _UNREAD_FILE,
        "if layer._read_bio.pending or layer._ssl_object.pending():",
        "if layer._read_bio.pending:",
        _UNREAD + " -k rest_of_a_record",
    ),
    Variant(
        "C8: only the outermost async TLS is asked",
        _UNREAD_FILE,
        "        layer = layer.transport_stream\n",
        (
            "        layer = layer.transport_stream\n"
            "        while hasattr(layer, '_read_bio'):\n"
            "            layer = layer.transport_stream\n"
        ),
        _OWN,
    ),
    Variant(
        "C8: sockets are not asked",
        _UNREAD_FILE,
        "return bool(poll.poll(0))",
        "return False",
        _UNREAD + " -k 'meanwhile or socket'",
    ),
    Variant(
        "C8: sockets without poll are not asked",
        _UNREAD_FILE,
        "return bool(select.select([number], [], [], 0)[0])",
        "return False",
        _UNREAD + " -k socket",
    ),
    Variant(
        "C9: a socket that cannot be asked has nothing",
        _UNREAD_FILE,
        "        return True\n\n\ndef in_stream",
        "        return False\n\n\ndef in_stream",
        _UNREAD + " -k socket",
    ),
    Variant(
        "C8: records are not counted",
        _UNREAD_FILE,
        "        while at < len(data):\n",
        "        while False:\n",
        _UNREAD + " -k 'own_answer or records'",
    ),
    Variant(
        "C8: a record's head is not counted",
        _UNREAD_FILE,
        "bool(self._head or self._left or self._bytes.pending)",
        "bool(self._left or self._bytes.pending)",
        _OWN,
    ),
    Variant(
        "C8: a record's body is not counted",
        _UNREAD_FILE,
        "bool(self._head or self._left or self._bytes.pending)",
        "bool(self._head or self._bytes.pending)",
        _OWN,
    ),
    Variant(
        "C8: records that were there first are not counted",
        _UNREAD_FILE,
        "        if rest:\n            self.write(rest)\n",
        "        incoming.write(rest)\n",
        _UNREAD + " -k records",
    ),
    Variant(
        "C8: aiohttp's TLS is not asked",
        _UNREAD_FILE,
        "or incoming.has_some or tls",
        "or tls",
        _OWN,
    ),
    Variant(
        "C9: TLS that cannot be asked has nothing",
        _UNREAD_FILE,
        "not isinstance(incoming, _Records) or incoming",
        "isinstance(incoming, _Records) and incoming",
        _UNREAD + " -k cannot",
    ),
    Variant(
        "C8: aiohttp's connections are not asked",
        _AIOHTTP,
        "protocol.should_close or in_transport(connection.transport)",
        "protocol.should_close",
        _OWN,
    ),
    Variant(
        "C8: nor is its parser",
        _AIOHTTP,
        "protocol.should_close or in_transport(connection.transport)",
        "in_transport(connection.transport)",
        _UNREAD + " -k meanwhile",
    ),
    # --- twice
    Variant(
        "C8: a sync connection is taken without asking",
        _LINE,
        "unread_bytes.in_stream(self._inner)\n            if info",
        "False\n            if info",
        _UNREAD,
    ),
    Variant(
        "C8: an async connection is taken without asking",
        _LINE,
        "unread_bytes.in_async_stream(self._inner)\n            if info",
        "False\n            if info",
        _UNREAD,
    ),
    Variant(
        "C8: a sync connection is not asked before it is written to",
        _LINE,
        "(self._line.fresh or self._line.wrote) and unread_bytes.in_stream(",
        "True and unread_bytes.in_stream(",
        _UNREAD + " -k after_the_connection",
    ),
    Variant(
        "C8: an async connection is not asked before it is written to",
        _LINE,
        "(self._line.fresh or self._line.wrote) and unread_bytes.in_async_stream(",
        "True and unread_bytes.in_async_stream(",
        _UNREAD + " -k after_the_connection",
    ),
    # --- one request
    Variant(
        "R20: whatever came of an answer",
        _LINE,
        "if self.fresh or self.came:",
        "if self.fresh:",
        _ONCE,
    ),
    Variant(
        "R20: however late",
        _LINE,
        "or now - self.wrote_at < _AT_ONCE + 2 * self.connecting_took",
        "or True",
        _ONCE,
    ),
    Variant(
        "R20: a new connection", _LINE, "if self.fresh or self.came:", "if self.came:", _UNREAD
    ),
    Variant(
        "R20: never once something was written",
        _LINE,
        " or now - self.wrote_at < _AT_ONCE + 2 * self.connecting_took",
        "",
        _UNREAD + " -k never_had",
    ),
    Variant(
        "R20: however far away the server is",
        _LINE,
        " < _AT_ONCE + 2 * self.connecting_took",
        " < _AT_ONCE",
        _UNREAD + " -k at_once",
    ),
    Variant(
        "R20: it is not measured how far away",
        _LINE,
        "self.connecting_took = time.monotonic_ns() - began",
        "pass",
        _UNREAD + " -k used_again",
    ),
    Variant(
        "R20: what came of a sync answer is not told",
        _LINE,
        (
            "        data: bytes = self._inner.read(max_bytes, self._left(timeout))\n"
            "        self._line.came = self._line.came or bool(data)\n"
        ),
        "        data: bytes = self._inner.read(max_bytes, self._left(timeout))\n",
        _ONCE,
    ),
    Variant(
        "R20: what came of an async answer is not told",
        _LINE,
        (
            "            max_bytes, self._line.connect_left() if self._tunnel else None\n"
            "        )\n"
            "        self._line.came = self._line.came or bool(data)\n"
        ),
        ("            max_bytes, self._line.connect_left() if self._tunnel else None\n        )\n"),
        _ONCE,
    ),
    Variant(
        "R20: what came of aiohttp's answer is not told",
        _AIOHTTP,
        "        self._line.came = True\n",
        "",
        _ONCE,
    ),
    Variant(
        "R20: aiohttp sends again by itself",
        _AIOHTTP,
        "        self._session._retry_connection = False",
        "        self._session._retry_connection = True",
        _ONCE,
    ),
    Variant(
        "C13: what went out again is not told",
        "opea_core/flow/call.py",
        "    permit.resent += failure.phase is Phase.MAYBE_SENT\n",
        "",
        _UNREAD + " -k never_had",
    ),
    Variant(
        "R20: what went out again is not counted",
        "opea_core/transport/waking.py",
        "stats.requests += 1 + permit.resent",
        "stats.requests += 1",
        _UNREAD + " -k never_had",
    ),
    Variant(
        "R20: what was never sent is counted",
        "opea_core/flow/call.py",
        "permit.resent += failure.phase is Phase.MAYBE_SENT",
        "permit.resent += 1",
        FLOW + "test_sent_again.py",
    ),
]
