"""What a call costs beside httpx, the openai SDK, langchain-openai and LlamaIndex's OpenAILike,
in CPU time of the client.

``python -m benchmarks.cost`` makes a virtual environment for each of them under ``.bench``, runs
them in turn against a cheap server on another core, and prints a table with the limits this project
holds itself to. A full run takes half an hour, and with ``--growth`` ten minutes more.
"""
