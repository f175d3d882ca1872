"""A stage whose keywords Ray cannot write down: it exports the arguments of a job as texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.on_ray.stages import ChatStage


class Sealed:
    """Keywords, with keys and headers among them, that show no value in a text."""

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        self.keywords = keywords

    def __repr__(self) -> str:
        return f"Sealed({', '.join(sorted(self.keywords))})"


class SealedChatStage(ChatStage):
    """A ``ChatStage`` of sealed keywords."""

    def __init__(self, sealed: Sealed) -> None:
        super().__init__(**sealed.keywords)
