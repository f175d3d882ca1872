"""LangChain on ``opea_core``: ``ChatOPEA``, ``OPEAEmbeddings`` and ``OPEARerank``.

``errors`` has the classes that are both the core's and LangChain's. ``InvalidToolCallMiddleware``
needs the package ``langchain``, so that ``import *`` leaves it out.
"""

from importlib.util import find_spec

if find_spec("langchain_core") is None:
    raise ImportError("langchain_opea needs langchain-core: pip install 'opea-core[langchain]'")

from typing import TYPE_CHECKING

from opea_core import __version__
from opea_core.lazy_imports import names

if TYPE_CHECKING:
    from langchain_opea import errors
    from langchain_opea.chat_models import ChatOPEA
    from langchain_opea.embeddings import OPEAEmbeddings
    from langchain_opea.middleware import InvalidToolCallMiddleware as InvalidToolCallMiddleware
    from langchain_opea.registration import register
    from langchain_opea.rerank import OPEARerank

__all__ = ["ChatOPEA", "OPEAEmbeddings", "OPEARerank", "__version__", "errors", "register"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = names(
        __name__,
        {
            "chat_models": ("ChatOPEA",),
            "embeddings": ("OPEAEmbeddings",),
            "errors": (),
            "middleware": ("InvalidToolCallMiddleware",),
            "registration": ("register",),
            "rerank": ("OPEARerank",),
        },
    )
