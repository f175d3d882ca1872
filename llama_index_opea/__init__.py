"""The LlamaIndex adapter of OPEA. This version holds the package's place: its classes are not there yet."""

from importlib.util import find_spec

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise ImportError("llama_index_opea needs llama-index-core: pip install 'opea-core[llama-index]'")

__all__: list[str] = []
