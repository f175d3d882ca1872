"""Stages for Ray Data: many rows asked by an actor, their answers and errors as columns.

``Dataset.map_batches(ChatStage, fn_constructor_kwargs={...}, batch_format="pyarrow")``. Nothing
here imports Ray: it makes one object of a stage per actor, and calls that with batches.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from opea_core.lazy_imports import names as _names

if _TYPE_CHECKING:
    from opea_core.on_ray.stages import ChatStage, EmbedStage

__all__ = ["ChatStage", "EmbedStage"]

if not _TYPE_CHECKING:
    __getattr__, __dir__ = _names(__name__, {"stages": ("ChatStage", "EmbedStage")})
