"""LangChain on ``opea_core``: ``ChatOPEA`` and ``OPEAEmbeddings``.

``errors`` has the classes that are both the core's and LangChain's.
"""

from importlib.util import find_spec

if find_spec("langchain_core") is None:
    raise ImportError("langchain_opea needs langchain-core: pip install 'opea-core[langchain]'")

from langchain_opea import errors
from langchain_opea.chat_models import ChatOPEA
from langchain_opea.embeddings import OPEAEmbeddings
from langchain_opea.registration import register
from opea_core import __version__

__all__ = ["ChatOPEA", "OPEAEmbeddings", "__version__", "errors", "register"]
