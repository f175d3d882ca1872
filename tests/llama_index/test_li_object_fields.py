"""Every field about servers is either stored or may hold a secret or an object: one by one."""

from __future__ import annotations

from typing import Any

import pytest
from li_object_support import CLASSES, MAKERS

from opea_core.testing import ScriptedServer

NO_SECRETS = frozenset(
    {
        "adapt", "api_version", "append_v1", "auth_header", "auth_scheme", "backoff_factor",
        "breaker", "capabilities", "deadline", "dialect", "http_library", "initial_retry_delay",
        "label", "max_concurrent", "max_delay", "max_event_bytes", "max_queued",
        "max_response_bytes", "max_retries", "max_retry_after", "queue", "queue_timeout",
        "recovery_wait", "retry", "rpm", "tier", "timeout", "tpm", "trust_env", "weight",
    }
)  # fmt: skip
"""What a new field must be put into, to be stored at all."""


@pytest.mark.parametrize("kind", CLASSES)
def test_only_fields_that_hold_no_secret_are_stored(server: ScriptedServer, kind: str) -> None:
    made: Any = MAKERS[kind](server)
    fields = {*type(made)._server_fields()} - {"endpoints"}
    vars(made).update({name: f"value-of-{name}" for name in fields})
    stored = (made.to_dict(), made.model_dump(), made.model_dump(mode="json"))
    for data in stored:
        kept = {name for name in fields if data.get(name) == f"value-of-{name}"}
        assert kept == NO_SECRETS
    # Under any other name, too.
    for text in (made.to_json(), made.model_dump_json(), repr(stored), repr(made), str(made)):
        assert [name for name in fields - NO_SECRETS if f"value-of-{name}" in text] == []


@pytest.mark.parametrize("kind", CLASSES)
def test_a_password_of_shared_limits_is_not_stored(server: ScriptedServer, kind: str) -> None:
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    made = MAKERS[kind](server, shared_limits="redis://:hunter2@127.0.0.1:1/0")
    assert made.client.settings.shared_limits is not None
    assert "hunter2" not in f"{made.to_dict()} {made.to_json()} {made.model_dump_json()} {made!r}"
