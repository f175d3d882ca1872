"""Waiters that nobody wakes, calls that wait for themselves or are refused for no reason,
and children of a fork that hang.
"""

from __future__ import annotations

from variant import POLICY, TRANSPORT, Variant

_GATE = "opea_core/transport/limiter.py"
_HOLDERS = "opea_core/transport/permit_holders.py"
_SYNC = "opea_core/transport/drivers/sync.py"
_AIO = "opea_core/transport/drivers/aio.py"
_KEYS = "opea_core/transport/keys.py"
_STREAM = "opea_core/transport/stream.py"
_HTTP = "opea_core/transport/http/pool.py"
_CORE = "opea_core/engine.py"
_WOKEN = TRANSPORT + "test_woken.py"
_LOOKS = _WOKEN + " -k 'interrupted or looks or every'"
_REFUSED = _WOKEN + " -k 'told_so'"
_WAITS = _WOKEN + " -k 'waited_for or gets_its or held'"
_BATCHES = "tests/core/batch/test_batch_in_stream.py"
_FORKS = _WOKEN + " -k Fork"
_CHECK = "keys.inside(limiter) or limiter.waits_for_itself(ticket)"

VARIANTS = [
    # --- woken
    Variant(
        "W11: nobody looks for others",
        _GATE,
        "self._unwoken() if looks else []",
        "list[Ticket]()",
        _LOOKS,
    ),
    Variant(
        "W11: nobody looks at all",
        "opea_core/transport/waking.py",
        "return now + LOOKS_EVERY if wake_at is None else min(wake_at, now + LOOKS_EVERY)",
        "return now + 3600 * SECOND if wake_at is None else wake_at",
        _LOOKS,
    ),
    Variant(
        "W11: anybody looks",
        "opea_core/transport/waking.py",
        "_TIMEKEEPERS = 3 ",
        "_TIMEKEEPERS = 300 ",
        _LOOKS,
    ),
    Variant(
        "W11: only waiters of the same loop are looked for",
        "opea_core/transport/waking.py",
        ("for tickets in self._waiting.values()\n            for t in tickets\n            if"),
        (
            "for tickets in list(self._waiting.values())[:1]\n"
            "            for t in tickets\n"
            "            if"
        ),
        _LOOKS,
    ),
    Variant(
        "W5: a lapsed offer wakes nobody",
        "opea_core/policy/scheduler.py",
        "            changed.append(oldest)  # it was not woken, or not in time\n",
        "",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W8: what is being given back is taken off the list first",
        "opea_core/transport/waking.py",
        "                    ticket, tell = self._returned[0]\n",
        "                    ticket, tell = self._returned.popleft()\n"
        "                    self._returned.appendleft((ticket, tell)) if "
        "self._leave(ticket, now) is None else self._returned.appendleft((ticket, "
        "tell))\n",
        _WOKEN + " -k finaliser",
    ),
    # --- waiting for oneself
    Variant(
        "W13: a thread may wait for its own place", _SYNC, _CHECK, "keys.inside(limiter)", _REFUSED
    ),
    Variant(
        "W13: a task may wait for its own place", _AIO, _CHECK, "keys.inside(limiter)", _REFUSED
    ),
    Variant(
        "K10: a key function may wait in a thread",
        _SYNC,
        _CHECK,
        "limiter.waits_for_itself(ticket)",
        _REFUSED,
    ),
    Variant(
        "K10: a key function may wait in a task",
        _AIO,
        _CHECK,
        "limiter.waits_for_itself(ticket)",
        _REFUSED,
    ),
    Variant(
        "K10: a key function may need itself",
        _KEYS,
        "    if id(source) in _asked_now.get():\n",
        "    if False:\n",
        _REFUSED,
    ),
    Variant(
        "K10: an async key function knows nothing of its call",
        _KEYS,
        "pool.submit(copy_context().run, ",
        "pool.submit(",
        _REFUSED,
    ),
    Variant(
        "W13: all threads are one",
        _SYNC,
        "        ticket.holder = threading.get_ident()\n",
        "",
        _WAITS,
    ),
    Variant(
        "W13: all tasks are one",
        _AIO,
        "        ticket.holder = AsyncConnection.reader()\n",
        "",
        _WAITS,
    ),
    Variant(
        "W13: who began a stream holds it for ever",
        _STREAM,
        "        if ticket.holder != reader:\n",
        "        if False:\n",
        _WAITS,
    ),
    Variant(
        "W13: one place of one's own is all",
        _HOLDERS,
        "if 0 < endpoint.in_flight <= len(held) else",
        "if held else",
        _WAITS,
    ),
    Variant(
        "W13: one endpoint of one's own is all",
        _GATE,
        "            if None in read:\n",
        "            if all(at is None for at in read):\n",
        _WAITS,
    ),
    Variant(
        "W13: nobody else reads a stream on",
        _GATE,
        "return not last or now - max",
        "return True or now - max",
        _WOKEN + " -k 'pool or task_that'",
    ),
    Variant(
        "W13: somebody reads any stream on",
        _GATE,
        "return not last or now - max",
        "return not last and now - max",
        _REFUSED,
    ),
    Variant(
        "W13: what was given back is held",
        "opea_core/transport/waking.py",
        "        self._holders.remove(ticket, permit)\n        if ticket.owner",
        "        if ticket.owner",
        _WAITS,
    ),
    Variant(
        "K10: a key function is never over",
        _KEYS,
        "        _asked_now.reset(token)\n",
        "        pass\n",
        _WAITS,
    ),
    # --- odd moments
    Variant(
        "C11: async connections stay the parent's",
        "opea_core/transport/drivers/pair.py",
        "            aio.let_go()\n",
        "            pass\n",
        _FORKS,
    ),
    Variant(
        "W14: locks of connections stay held",
        _HTTP,
        "        self._lock = threading.Lock()\n        for line in self.lines():\n",
        "        for line in self.lines():\n",
        _FORKS,
    ),
    Variant(
        "C11: asyncio's sockets stay open in the child",
        "opea_core/transport/deadline.py",
        'real = getattr(self.socket, "_sock", self.socket)',
        "real = self.socket",
        _FORKS,
    ),
    Variant(
        "W14: an import is not waited for",
        "opea_core/lazy_imports.py",
        (
            "before=importing.acquire,\n"
            "        after_in_parent=importing.release,\n"
            "        after_in_child=importing.release,"
        ),
        "before=bool,\n        after_in_parent=bool,\n        after_in_child=bool,",
        _FORKS,
    ),
    Variant(
        "W14: the async driver is imported without telling",
        "opea_core/transport/drivers/pair.py",
        (
            "        with importing:\n"
            "            from opea_core.transport.drivers.aio import AsyncDriver\n"
        ),
        "        if True:\n            from opea_core.transport.drivers.aio import AsyncDriver\n",
        _FORKS,
    ),
    Variant(
        "W14: asyncio is whole as soon as it is there",
        _SYNC,
        'running_loop = getattr(asyncio, "_get_running_loop", None)',
        "running_loop = asyncio and asyncio._get_running_loop",
        _WOKEN + " -k imports",
    ),
    # --- batches, which call for somebody who waits
    Variant(
        "W13: a thread may wait for the place of who waits for it",
        _HOLDERS,
        "return (ticket.holder, *caller.holders()) if isinstance(caller, Caller) else"
        " (ticket.holder,)",
        "return (ticket.holder,)",
        _BATCHES,
    ),
    Variant(
        "W13: a batch stops an event loop whose calls it needs",
        _GATE,
        "self.would_block(ticket, loop) for loop in caller.loops()",
        "False for loop in caller.loops()",
        _BATCHES,
    ),
    Variant(
        "W13: who waits for a batch of batches is forgotten",
        _HOLDERS,
        "(*self._holders, *(self._behind.holders() if self._behind else ()))",
        "self._holders",
        _BATCHES,
    ),
    Variant(
        "W13: whoever began a batch always waits for it",
        _HOLDERS,
        "            self._holders, self._loop = (), None\n",
        "            pass\n",
        _BATCHES,
    ),
    Variant(
        "W13: a batch fails all its rows one by one as it waits for itself",
        "opea_core/batch/window.py",
        "            or waits_for_itself(error)\n",
        "",
        _BATCHES,
    ),
    Variant(
        "W13: LangChain's threads act for nobody",
        "langchain_opea/chat_models.py",
        "        with Caller().blocks():\n",
        "        if True:\n",
        "tests/langchain/test_lc_object_batch.py",
    ),
    Variant(
        "W13: LlamaIndex's threads act for nobody",
        "llama_index_opea/embeddings.py",
        "        with Caller().blocks():\n",
        "        if True:\n",
        "tests/llama_index/test_li_embeddings_many.py -k only_place",
    ),
]
