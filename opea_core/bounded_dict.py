"""A dict that forgets.

What is kept by names that callers and servers choose must not grow for ever.
"""

from __future__ import annotations

from typing import TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Bounded(dict[KeyT, ValueT]):
    """At most ``most`` entries: the ones that were set last."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        while len(self) > self.most:
            self.pop(next(iter(self)), None)
