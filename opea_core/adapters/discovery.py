"""What a model asks its server: which model it serves, and how many tokens that takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import PrivateAttr

from opea_core.adapters.keywords import Keywords
from opea_core.adapters.server_fields import PER_CALL, ServerFields
from opea_core.types import ModelInfo


class Discovery(Keywords):
    """Asks by ``client``, with the options that every call of this model has."""

    _windows: dict[str, int] = PrivateAttr(default_factory=dict)
    _is_shared: bool = PrivateAttr(default=False)
    """Whether the ``OPEA`` object is the caller's own, or that of another model."""

    def discover(self) -> Self:
        """Ask the server which model it serves and how many tokens it takes.

        Gives the object itself.

        What was given is not changed.
        """
        with self._errors():
            if self._uses_the_clients_model():
                self.client.discover(**self._shared_options())
            else:
                self._take_windows(self.client.models(**self._shared_options()))
        self._discovered()
        return self

    async def adiscover(self) -> Self:
        """``discover`` for async code."""
        with self._errors():
            if self._uses_the_clients_model():
                await self.client.adiscover(**self._shared_options())
            else:
                self._take_windows(await self.client.amodels(**self._shared_options()))
        self._discovered()
        return self

    def _uses_the_clients_model(self) -> bool:
        return self._own_model(vars(self)) in (None, self.client.model)

    def _take_windows(self, models: Sequence[ModelInfo]) -> None:
        self._windows = {model.id: model.context_length for model in models if model.context_length}

    def _discovered_window(self) -> int | None:
        """Tokens the model takes, as far as a server or the maker of the ``OPEA`` object said."""
        model = self._own_model(vars(self))
        window: int | None = (
            self.client.context_window
            if self._uses_the_clients_model()
            else self._windows.get(str(model))
        )
        return window

    def _discovered(self) -> None:
        """Told when the server was asked."""

    def _ask_for_model(self, named: Any) -> None:
        """Ask the server which model it serves, where nobody named one: once for all callers."""
        if not named and self.client.model is None:
            with self._errors():
                self.client._ask_for_model(self._shared_options())
            self._discovered()

    async def _aask_for_model(self, named: Any) -> None:
        if not named and self.client.model is None:
            with self._errors():
                await self.client._aask_for_model(self._shared_options())
            self._discovered()

    def _shared_options(self) -> dict[str, Any]:
        """Options of a call that stand for the object's settings, if the object is the caller's."""
        if not self._is_shared:
            return {}
        values = {name: getattr(self, name) for name in sorted(PER_CALL)}
        return {
            name: value
            for name, value in values.items()
            if value != ServerFields.model_fields[name].default
        }

    def _call_model(self, model: str | None) -> dict[str, str]:
        """``model`` as an option of a call, where the object would choose another one."""
        known = None if self._is_shared else self.client.settings.model
        return {"model": model} if model and model != known else {}
