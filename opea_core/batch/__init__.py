"""Many requests: a window over what is pulled as there is room, and whole files of them.

``run`` and ``arun`` ask every row of a file and write the answers to another; the same call again
goes on. ``OPEA.chat_many`` and its kin do it in one process, without files.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from opea_core.lazy_imports import names as _names

if _TYPE_CHECKING:
    from opea_core.batch.file_job import arun, run
    from opea_core.batch.result import Result
    from opea_core.batch.summary import FailureKind, Summary

__all__ = ["FailureKind", "Result", "Summary", "arun", "run"]

if not _TYPE_CHECKING:
    __getattr__, __dir__ = _names(
        __name__,
        {
            "file_job": ("arun", "run"),
            "result": ("Result",),
            "summary": ("FailureKind", "Summary"),
        },
    )
