"""Who a row is and what it asks for, as digests, and a table of what became of each."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b
from typing import Any

_PARTS = 16
"""Tables that grow one by one, so that nobody waits long for it, and little is there twice."""
_START = 64
_FULL = 0.8
"""The share of the slots that may be in use; beyond it a table grows by half."""
_LOW = (1 << 64) - 1


def request_hash(kind: str, body: Any) -> str:
    """What a request asks for, as 32 hex digits: the order of its fields does not count."""
    # A file that was written again by another program may have its fields in another order.
    text = json.dumps([kind, body], sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def id_digest(row_id: str) -> int:
    """64 bits of a row's id."""
    # Ids come from the input, and JSON may hold half of a surrogate pair.
    return int.from_bytes(
        blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def hash_digest(text: str) -> int:
    """64 bits of a request's hash."""
    return int(text[:16], 16)


class State(IntEnum):
    """What became of a row."""

    EMPTY = 0
    """A slot that no row uses."""
    OPEN = 1
    """Nothing yet: it is on its way, or was never sent."""
    ANSWERED = 2
    FAILED = 3
    """It failed, and may succeed when it is tried again."""
    REFUSED = 4
    """It failed, and the same request would fail again."""
    REPLACED = 5
    """Its request changed, and it is asked again; an answer to the old request is in the output."""


_SEEN = 0x80


class Digests:
    """What became of each row, in 17 bytes a slot: 8 for its id, 8 for its request.

    The last byte is its state.

    A row counts as known only if both digests agree, which are 128 bits together. Open addressing
    over flat arrays, because a dict of a million rows would take ten times as much memory.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = [_Part() for _ in range(_PARTS)]

    def __len__(self) -> int:
        return sum(part.count for part in self._parts)

    @property
    def size(self) -> int:
        """Its slots, 17 bytes each."""
        return sum(part.size for part in self._parts)

    def state(self, digest: int) -> State:
        """What became of a row; EMPTY for one that is not known."""
        return self._parts[digest % _PARTS].state(digest)

    def request(self, digest: int) -> int:
        """The digest of the request that a known row had last."""
        return self._parts[digest % _PARTS].request(digest)

    def put(self, digest: int, request: int, state: State) -> None:
        """Note what became of a row."""
        self._parts[digest % _PARTS].put(digest, request, state)

    def see(self, digest: int) -> bool:
        """Mark a known row as read from the input; whether it had been read before."""
        return self._parts[digest % _PARTS].see(digest)

    def __iter__(self) -> Iterator[int]:
        return (digest for part in self._parts for digest in part)


class _Part:
    """The rows whose digests have the same rest."""

    __slots__ = ("_hashes", "_ids", "_states", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lay(_START)

    def _lay(self, size: int) -> None:
        self._ids = array("Q", bytes(8 * size))
        self._hashes = array("Q", bytes(8 * size))
        self._states = bytearray(size)

    @property
    def size(self) -> int:
        """Its slots."""
        return len(self._states)

    def _slot(self, digest: int) -> int:
        """Where a row is, or would be."""
        ids, states, size = self._ids, self._states, len(self._states)
        slot = digest // _PARTS % size
        while states[slot] and ids[slot] != digest:
            slot = slot + 1 if slot + 1 < size else 0
        return slot

    def state(self, digest: int) -> State:
        """What became of a row; EMPTY for one that is not known."""
        return State(self._states[self._slot(digest)] & ~_SEEN)

    def request(self, digest: int) -> int:
        """The digest of the request that a known row had last."""
        return self._hashes[self._slot(digest)]

    def put(self, digest: int, request: int, state: State) -> None:
        """Note what became of a row."""
        slot = self._slot(digest)
        if not self._states[slot]:
            if self.count >= _FULL * len(self._states):
                self._grow()
                slot = self._slot(digest)
            self.count += 1
        self._ids[slot], self._hashes[slot] = digest, request & _LOW
        self._states[slot] = state | self._states[slot] & _SEEN

    def see(self, digest: int) -> bool:
        """Mark a known row as read from the input; whether it had been read before."""
        slot = self._slot(digest)
        before = bool(self._states[slot] & _SEEN)
        self._states[slot] |= _SEEN
        return before

    def _grow(self) -> None:
        ids, hashes, states = self._ids, self._hashes, self._states
        # By half and not twice, so that a row takes at most 32 bytes.
        self._lay(len(states) * 3 // 2)
        for old, state in enumerate(states):
            if state:
                slot = self._slot(ids[old])
                self._ids[slot], self._hashes[slot] = ids[old], hashes[old]
                self._states[slot] = state

    def __iter__(self) -> Iterator[int]:
        return (self._ids[slot] for slot, state in enumerate(self._states) if state)
