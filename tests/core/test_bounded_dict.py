"""What is kept by names that callers and servers choose does not grow for ever."""

from __future__ import annotations

import pytest
from asking import made

from opea_core.bounded_dict import Bounded
from opea_core.testing import ScriptedServer, json_answer


def test_the_entries_that_were_set_last_are_kept() -> None:
    kept: Bounded[str, int] = Bounded(2)
    for name, number in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        kept[name] = number
    assert list(kept.items()) == [("a", 3), ("c", 4)]


@pytest.mark.parametrize("models", [1, 12_000])
def test_a_server_may_list_any_number_of_models(server: ScriptedServer, models: int) -> None:
    server.always(json_answer({"data": [{"id": f"own-{n}"} for n in range(models)]}))
    opea = made(server)
    assert len(opea.models()) == models
    assert opea.is_compatible_model(f"own-{models - 1}")
    assert opea.is_compatible_model("own-0") is (models == 1)
