"""Bytes that arrive in pieces, without paying for each of a million small ones."""

from __future__ import annotations

_SMALL = 4096


class Pieces:
    """Pieces of bytes, to be joined later; small ones are joined as they come."""

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self.size)

    def add(self, piece: bytes) -> None:
        """One more."""
        self.size += len(piece)
        if len(piece) >= _SMALL:
            self._parts.append(piece)
        elif (
            self._parts
            and isinstance(self._parts[-1], bytearray)
            and len(self._parts[-1]) < 16 * _SMALL
        ):
            self._parts[-1] += piece
        else:
            self._parts.append(bytearray(piece))

    def joined(self) -> bytes:
        """All of them."""
        return bytes(self._parts[0]) if len(self._parts) == 1 else b"".join(self._parts)

    def clear(self) -> None:
        """Forget them."""
        self._parts.clear()
        self.size = 0
