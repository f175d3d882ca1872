"""LlamaIndex on ``opea_core``: ``OPEALLM``, ``OPEAEmbedding`` and ``OPEARerank``.

``errors`` has what this package adds to the core's errors; ``testing`` a conformance suite for any
integration.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise ImportError(
        "llama_index_opea needs llama-index-core: pip install 'opea-core[llama-index]'"
    )

from llama_index.core import __version__ as _core

if [int(part) for part in _core.split(".")[:3] if part.isdigit()] < [0, 14, 16]:
    raise ImportError(
        "llama_index_opea needs llama-index-core 0.14.16 or newer: pip install -U llama-index-core"
    )

from opea_core import __version__
from opea_core.lazy_imports import names

if TYPE_CHECKING:
    from llama_index_opea import errors
    from llama_index_opea.embeddings import OPEAEmbedding
    from llama_index_opea.llm import OPEALLM
    from llama_index_opea.rerank import OPEARerank

__all__ = ["OPEALLM", "OPEAEmbedding", "OPEARerank", "__version__", "errors"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = names(
        __name__,
        {
            "embeddings": ("OPEAEmbedding",),
            "errors": (),
            "llm": ("OPEALLM",),
            "rerank": ("OPEARerank",),
        },
    )
