"""The adapters: answers, blocks and messages of both frameworks,
and objects read from what models write.
"""

from __future__ import annotations

from variant import Variant

_LC = "tests/langchain/"
_LC_SHAPES = _LC + "test_lc_shapes.py"
_LC_TEXT = _LC + "test_lc_structured_text.py"
_LC_ORDER = _LC + "test_lc_reasoning.py"
_LC_MESSAGES = _LC + "test_lc_messages.py " + _LC + "test_lc_messages_assistant.py"
_LC_ANSWERS = "langchain_opea/answers.py"
_LC_STRUCTURED = "langchain_opea/structured.py"
_LI = "tests/llama_index/"
_LI_SHAPES = _LI + "test_li_shapes.py"
_LI_TEXT = _LI + "test_li_structured_text.py"
_LI_MESSAGES = _LI + "test_li_messages_calls.py"
_LI_ANSWERS = "llama_index_opea/answers.py"
_LI_BLOCKS = "llama_index_opea/blocks.py"
_LI_STRUCTURED = "llama_index_opea/structured.py"
_KEYWORDS = "tests/typing/test_keywords.py"

VARIANTS = [
    # --- LangChain: answers
    Variant(
        "LangChain: of arguments in one read the last piece wins",
        _LC_ANSWERS,
        "pieces.append(arguments)",
        "pieces[:] = [arguments]",
        _LC_SHAPES + " -k broken",
    ),
    Variant(
        "LangChain: broken arguments that stream are repaired",
        _LC_ANSWERS,
        "        for call in choice.invalid_tool_calls:\n            self._hold(",
        "        for call in choice.invalid_tool_calls[:0]:\n            self._hold(",
        _LC_SHAPES + " -k broken",
    ),
    Variant(
        "LangChain: text beside a call is held back",
        _LC_ANSWERS,
        "            if more and not (chunk.content or chunk.reasoning):\n",
        "            if more:\n",
        _LC_SHAPES + " -k one_read",
    ),
    Variant(
        "LangChain: streamed reasoning comes once more at the end",
        _LC_ANSWERS,
        "reasoning=False)\n            | self._turns",
        "reasoning=True)\n            | self._turns",
        _LC_SHAPES + " -k reasoning",
    ),
    Variant(
        "LangChain: streams count no tokens",
        _LC_ANSWERS,
        "            usage_metadata=usage_metadata(response.usage),\n            chunk_position",
        "            usage_metadata=None,\n            chunk_position",
        _LC_SHAPES + " -k usage",
    ),
    Variant(
        "LangChain: what was cached is what was written to the cache",
        _LC_ANSWERS,
        (
            '"cache_read": usage.cached_tokens,\n'
            '        "cache_creation": usage.cache_creation_tokens,'
        ),
        (
            '"cache_read": usage.cache_creation_tokens,\n'
            '        "cache_creation": usage.cached_tokens,'
        ),
        _LC_SHAPES + " -k usage",
    ),
    # --- LangChain: blocks, and their order
    Variant(
        "LangChain: text and call are merged into one block",
        "langchain_opea/blocks.py",
        '_INDEX = {"text": "lc_txt_", ',
        "_INDEX = {",
        _LC_SHAPES + " -k 'blocks and mixed'",
    ),
    Variant(
        "LangChain: blocks say nothing of invalid calls",
        "langchain_opea/blocks.py",
        "for c in message.invalid_tool_calls\n",
        "for c in message.invalid_tool_calls[:0]\n",
        _LC_SHAPES + " -k 'blocks and mixed'",
    ),
    Variant(
        "LangChain: the order of a stream is not kept",
        "langchain_opea/order.py",
        "return {} if is_usual else {ORDER",
        "return {} if is_usual or True else {ORDER",
        _LC_ORDER,
    ),
    Variant(
        "LangChain: text after a thought belongs to the text before it",
        "langchain_opea/order.py",
        "numbers = {kind: max(len(places) - 1, 0) for",
        "numbers = {kind: 0 for",
        _LC_ORDER,
    ),
    # --- LangChain: objects
    Variant(
        "LangChain: a call written as text is the answer itself",
        _LC_STRUCTURED,
        "read_answer(_text(message), self.tool_name)",
        "read_answer(_text(message))",
        _LC_TEXT,
    ),
    Variant(
        "LangChain: anything that is JSON is an answer",
        _LC_STRUCTURED,
        "if self.schema_ is None and not isinstance(value, dict):",
        "if False:",
        _LC_TEXT,
    ),
    Variant(
        "LangChain: half a call streams as the answer",
        _LC_STRUCTURED,
        "return None if may_be_call(value, self._parser.tool_name) else value",
        "return value",
        _LC_TEXT,
    ),
    Variant(
        "LangChain: the first of several calls is the answer",
        _LC_STRUCTURED,
        'own = next((call for call in calls if call["name"] == self.tool_name), None)',
        "own = next(iter(calls), None)",
        _LC_TEXT,
    ),
    Variant(
        "LangChain: errors show streamed arguments with a bracket more",
        _LC_STRUCTURED,
        'text = unspoiled(str(message.invalid_tool_calls[0]["args"]))',
        'text = str(message.invalid_tool_calls[0]["args"])',
        _LC_TEXT,
    ),
    Variant(
        "LangChain: a cut answer does not name the limit",
        _LC_STRUCTURED,
        'message.response_metadata.get("finish_reason") == "length"',
        'message.response_metadata.get("finish_reason") == "max_tokens"',
        _LC_TEXT,
    ),
    Variant(
        "LangChain: a refusal is an answer that does not fit",
        _LC_STRUCTURED,
        "        if refusal:\n",
        "        if False:\n",
        _LC_TEXT,
    ),
    # --- LangChain: messages
    Variant(
        "LangChain: invalid calls go back though nothing answers them",
        "langchain_opea/messages.py",
        'for call in message.invalid_tool_calls if call["id"] in answered]',
        "for call in message.invalid_tool_calls]",
        _LC_MESSAGES,
    ),
    Variant(
        "LangChain: what the user said comes before the tools' results",
        "langchain_opea/messages.py",
        "return [*results, built] if",
        "return [built, *results] if",
        _LC_MESSAGES,
    ),
    # --- LlamaIndex: answers and blocks
    Variant(
        "LlamaIndex: a delta of text has no thought beside it",
        _LI_ANSWERS,
        '{"thinking_delta": chunk.reasoning} if chunk.reasoning else {}',
        '{"thinking_delta": chunk.reasoning} if chunk.reasoning and not chunk.content else {}',
        _LI_SHAPES + " -k reasoning",
    ),
    Variant(
        "LlamaIndex: calls that stream stand in blocks alone",
        _LI_ANSWERS,
        'kwargs = {"tool_calls": [entry for _, entry in calls]} if calls else {}',
        "kwargs: Json = {}",
        _LI_SHAPES + " -k deltas",
    ),
    Variant(
        "LlamaIndex: completions lose the reasoning",
        _LI_ANSWERS,
        '        kwargs["reasoning_content"] = thoughts\n',
        "        pass\n",
        _LI_SHAPES + " -k reasoning",
    ),
    Variant(
        "LlamaIndex: what comes with more behind it is not handed on",
        _LI_ANSWERS,
        "if not (chunk.content or chunk.reasoning) and (more or not chunk.tool_calls):",
        "if more or not (chunk.content or chunk.reasoning or chunk.tool_calls):",
        _LI_SHAPES + " -k one_read",
    ),
    Variant(
        "LlamaIndex: invalid calls have no arguments",
        _LI_ANSWERS,
        "kwargs = call.arguments if isinstance(call, core.InvalidToolCall) else call.args",
        "kwargs = call.args",
        _LI_SHAPES + " -k mixed",
    ),
    Variant(
        "LlamaIndex: reasoning beside text is lost",
        _LI_BLOCKS,
        "            blocks.insert(0, ThinkingBlock(content=choice.reasoning))\n",
        "            pass\n",
        _LI_SHAPES + " -k reasoning",
    ),
    # --- LlamaIndex: objects
    Variant(
        "LlamaIndex: an answer under another name is none",
        _LI_STRUCTURED,
        "        own = calls[0]  # an",
        "        own = None  # an",
        _LI_TEXT,
    ),
    Variant(
        "LlamaIndex: no object in a list is found",
        _LI_STRUCTURED,
        ", read_answer(text, is_list=True)]",
        "]",
        _LI_TEXT,
    ),
    Variant(
        "LlamaIndex: a cut answer is asked for again",
        _LI_STRUCTURED,
        "            if unfit.is_cut:\n                raise",
        "            if False:\n                raise",
        _LI_TEXT,
    ),
    Variant(
        "LlamaIndex: an empty answer goes back as a message",
        _LI_STRUCTURED,
        "content=unfit.text)] if unfit.text else []",
        "content=unfit.text)]",
        _LI_TEXT,
    ),
    Variant(
        "LlamaIndex: an async stream ends before the whole object",
        _LI_STRUCTURED,
        "    for found in question.grown(None):\n        yield found",
        "    for found in ():\n        yield found",
        _LI_TEXT,
    ),
    Variant(
        "LlamaIndex: all reasoning is called empty",
        _LI_STRUCTURED,
        'missing = _ALL_THOUGHT if thought else "It is empty."',
        'missing = "It is empty."',
        _LI_TEXT,
    ),
    # --- LlamaIndex: messages
    Variant(
        "LlamaIndex: invalid calls do not go back though a result answers them",
        "llama_index_opea/messages.py",
        'for call in known.get("invalid_tool_calls") or ()} - answered',
        'for call in known.get("invalid_tool_calls") or ()}',
        _LI + "test_li_calls_not_run.py",
    ),
    Variant(
        "LlamaIndex: broken arguments go back as they came",
        "llama_index_opea/messages.py",
        '{"invalid_arguments": value}',
        "value",
        _LI_MESSAGES,
    ),
    # --- keywords that checkers know
    Variant(
        "LangChain: checkers do not know another name of a keyword",
        "langchain_opea/constructor_options.py",
        "    openai_api_base: str | None\n",
        "",
        _KEYWORDS,
    ),
    Variant(
        "LlamaIndex: checkers know a keyword that is refused",
        "llama_index_opea/constructor_options.py",
        "    num_workers: int | None\n",
        "    num_workers: int | None\n    workers: int | None\n",
        _KEYWORDS,
    ),
    Variant(
        "checkers do not know a reserved option of calls",
        "opea_core/call_options.py",
        "    recovery_wait: float | None\n",
        "    recovery_waits: float | None\n",
        _KEYWORDS,
    ),
]
