"""The LangChain adapter of OPEA. This version holds the package's place: its classes are not there yet."""

from importlib.util import find_spec

if find_spec("langchain_core") is None:
    raise ImportError("langchain_opea needs langchain-core: pip install 'opea-core[langchain]'")

__all__: list[str] = []
