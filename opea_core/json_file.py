"""JSON files that users name."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from opea_core.display_text import cut
from opea_core.errors import ConfigurationError

_SHOWN = 300
"""Characters of a path in an error."""


def read_json_file(path: str | os.PathLike[str], what: str, hint: str = "") -> Any:
    """The document in a file; ``what`` it is, and a hint, are for the error.

    Raises ConfigurationError for a path that cannot be read or is no ordinary file, and for what
    is no JSON.
    """
    data = b""
    try:
        where = Path(path).expanduser()
        # A pipe would be waited for, perhaps for ever.
        problem = "" if stat.S_ISREG(where.stat().st_mode) else "is no ordinary file"
        if not problem:
            data = where.read_bytes()
    # Without a home, with a NUL or half a character, a path is no OSError.
    except (OSError, RuntimeError, ValueError) as error:
        problem = f"cannot be read ({type(error).__name__})"
    if not problem:
        try:
            return json.loads(data.decode())
        except RecursionError:
            problem = "is nested too deeply"
        except ValueError as error:
            problem = f"is no JSON ({error})"
    # Raised here and not there, as the error shows the path with what it may hide (K5).
    raise ConfigurationError(f"{what} {cut(str(path), _SHOWN)} {problem}.", hint)
