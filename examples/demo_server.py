"""What the examples ask: the server at OPEA_API_URL, or else a scripted one on this computer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from opea_core.testing import ScriptedServer


@contextmanager
def server() -> Iterator[str]:
    """The base URL to use. OPEA() finds it, and the model, in the environment."""
    if os.environ.get("OPEA_API_URL"):
        yield os.environ["OPEA_API_URL"]
        return
    with ScriptedServer() as scripted:
        settings = {"OPEA_API_URL": scripted.url, "OPEA_MODEL": scripted.model.name}
        with patch.dict(os.environ, settings):
            yield scripted.url
