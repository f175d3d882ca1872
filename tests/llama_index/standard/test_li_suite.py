"""That the conformance suite can fail: each fault is caught by the tests that are there for it,
and they pass without the fault.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import li_broken_answers as answers
import li_broken_classes as classes
import li_broken_others as others
import pytest
from li_broken_answers import broken, each, last
from li_flags import EveryFlag, Ranks, Vectors
from li_upstream import upstream

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from llama_index_opea.testing import EmbeddingConformance, LLMConformance, RerankConformance
from llama_index_opea.testing.chat import BLOCKS
from llama_index_opea.testing.media import IMAGES
from llama_index_opea.testing.tool_histories import CALL
from opea_core.testing import ScriptedServer

pytestmark = pytest.mark.enable_socket

STREAM, ASTREAM = "test_stream_chat", "test_astream_chat"
COMPLETIONS = ("test_stream_complete", "test_astream_complete")
CALLS = (
    "test_tool_call",
    "test_tool_call_async",
    "test_tool_call_stream",
    "test_tool_call_stream_async",
)
TWO_CALLS = (
    "test_parallel_tools",
    "test_parallel_tools_async",
    "test_parallel_tools_stream",
    "test_parallel_tools_stream_async",
)
LOGPROBS = (
    "test_logprobs",
    "test_logprobs_complete",
    ("test_logprobs_stream", "stream_chat"),
    ("test_logprobs_stream_async", "astream_complete"),
)

ANSWERS: dict[str, tuple[answers.Change, tuple[Any, ...]]] = {
    "only the new text": (each(answers.only_new_text), (STREAM, ASTREAM)),
    "one message for all": (answers.one_message_for_all, (STREAM, ASTREAM)),
    "empty at the end": (
        answers.empty_at_the_end,
        (STREAM, ASTREAM, *COMPLETIONS, ("test_function_agent", True)),
    ),
    "no delta": (
        answers.without_delta,
        (STREAM, ASTREAM, *COMPLETIONS, "test_stream_predict", "test_chat_engine_stream"),
    ),
    "all text as delta": (
        answers.all_text_as_delta,
        (STREAM, ASTREAM, *COMPLETIONS, "test_stream_predict", "test_astream_predict"),
    ),
    "first response lost": (answers.first_lost, (STREAM, ASTREAM, *COMPLETIONS)),
    "first thought lost": (
        answers.first_thought_lost,
        (
            "test_ways_agree",
            "test_ways_agree_async",
            "test_ways_agree_on_calls",
            "test_ways_agree_on_calls_async",
        ),
    ),
    "the user says it": (each(answers.from_the_user), ("test_chat", "test_achat", STREAM, ASTREAM)),
    "text before thoughts": (
        each(answers.text_first),
        ("test_reasoning_block", "test_reasoning_block_async", "test_thinking_delta"),
    ),
    "two texts": (each(answers.text_in_two_blocks), ("test_chat", "test_achat")),
    "two thoughts": (each(answers.thinking_in_pieces), ("test_reasoning_block",)),
    "no thoughts": (
        each(answers.thinking_forgotten),
        (
            "test_reasoning_block",
            "test_reasoning_block_async",
            "test_thinking_delta",
            "test_reasoning_and_tool",
            "test_reasoning_and_tool_async",
        ),
    ),
    "thoughts as text": (
        each(answers.thinking_in_the_text),
        ("test_reasoning_block", "test_thinking_delta", "test_reasoning_roundtrip"),
    ),
    "no thinking_delta": (
        each(answers.no_thinking_delta),
        ("test_thinking_delta", "test_thinking_delta_async", "test_function_agent_thinks"),
    ),
    "always a thinking_delta": (each(answers.always_a_thinking_delta), (STREAM, ASTREAM)),
    "thinking_delta of the message": (
        each(answers.thinking_delta_of_the_message),
        ("test_thinking_delta", "test_thinking_delta_async"),
    ),
    "no thoughts in completions": (
        last(answers.no_reasoning_content),
        ("test_reasoning_of_completions",),
    ),
    "raw is a text": (
        last(answers.raw_text),
        ("test_chat", "test_complete", STREAM, ASTREAM, *COMPLETIONS),
    ),
    "no usage": (
        last(answers.no_usage),
        (
            "test_usage_chat",
            "test_usage_chat_async",
            "test_usage_stream_last",
            "test_usage_stream_last_async",
        ),
    ),
    "usage at the beginning": (
        answers.usage_at_the_beginning,
        (
            "test_usage_stream_last",
            "test_usage_stream_last_async",
            "test_usage_tool_stream_last",
            "test_usage_tool_stream_last_async",
        ),
    ),
    "no counts": (last(answers.no_counts), ("test_usage_chat", "test_usage_stream_last")),
    "no finish reason": (
        last(answers.no_finish_reason),
        (("test_finish_reason", "stream_chat"), ("test_finish_reason_async", "acomplete")),
    ),
    "no logprobs": (last(answers.no_logprobs), LOGPROBS),
    "logprobs of the last token": (last(answers.last_logprob_only), LOGPROBS),
    "flat logprobs": (last(answers.flat_logprobs), LOGPROBS),
    "calls in blocks only": (each(answers.calls_in_blocks_only), CALLS),
    "calls as dicts only": (each(answers.calls_as_dicts_only), CALLS),
    "calls as objects": (each(answers.calls_as_objects), CALLS),
    "arguments unread": (each(answers.calls_unread), CALLS),
    "same ids": (each(answers.same_ids), TWO_CALLS),
    "second call lost": (
        each(answers.second_call_lost),
        (*TWO_CALLS, "test_function_agent_parallel"),
    ),
    "text lost beside calls": (
        each(answers.text_lost_beside_calls),
        ("test_text_and_tool", "test_text_and_tool_stream", "test_text_and_tool_stream_async"),
    ),
}
CLASSES: dict[type[OPEALLM], tuple[Any, ...]] = {
    classes.NotTrimmed: ("test_trim_to_one_call", "test_trim_to_one_call_async"),
    classes.Appending: ("test_history_not_mutated",),
    classes.NothingRequired: ("test_tool_required", "test_tool_required_stream_async"),
    classes.NoChoice: (
        "test_tool_choice_name",
        "test_tool_choice_name_stream_async",
        "test_tool_required",
        "test_function_agent_initial_tool",
    ),
    classes.ReadsBlocksOnly: (
        ("test_calls_of_others", CALL),
        ("test_calls_of_others", CALL.model_dump()),
    ),
    classes.NeverAnError: ("test_no_call",),
    classes.AlwaysAnError: ("test_no_call", ("test_function_agent", True)),
    classes.Enough: (
        ("test_cut_stream_raises", "stream_chat"),
        ("test_cut_stream_raises_async", "astream_complete"),
    ),
    classes.Leaking: (
        ("test_stream_abandoned_closes", "stream_chat"),
        ("test_stream_abandoned_closes_async", "astream_chat"),
    ),
    classes.HeldOpen: (("test_stream_abandoned_closes", "stream_chat"),),
    classes.SystemPromptTwice: ("test_system_prompt",),
    classes.Lists: (STREAM,),
    classes.NoCoroutine: (ASTREAM,),
    classes.TwoEvents: (
        ("test_events_balanced", "complete"),
        ("test_events_balanced_async", "achat"),
        ("test_rate_limiter_once", "complete"),
        ("test_rate_limiter_once_async", "achat"),
        ("test_token_counter", "complete"),
        ("test_token_counter_async", "achat"),
    ),
    classes.Unheard: (
        ("test_events_balanced", "chat"),
        ("test_rate_limiter_once", "chat"),
        "test_callback_manager_assignable",
    ),
    classes.ConstructorWins: (("test_call_kwargs_win", "chat"),),
    classes.Mutating: ("test_messages_not_changed",),
    classes.Swallowing: (("test_error_raises", "chat"),),
    classes.Talkative: (("test_error_raises", "chat"),),
    classes.NoMedia: (("test_image", IMAGES["bytes"]), "test_audio", "test_document"),
    classes.Cores: (
        ("test_astructured_predict", "tools"),
        ("test_stream_structured_predict", "text"),
        ("test_astream_structured_predict", "text"),
        "test_structured_failure_raises",
        "test_structured_failure_raises_async",
    ),
    classes.Dicts: (
        ("test_structured_predict", "default"),
        "test_structured_events",
        "test_as_structured_llm",
    ),
    classes.Unprompted: (
        ("test_structured_predict", "default"),
        ("test_astructured_predict", "text"),
        ("test_stream_structured_predict", "tools"),
    ),
    classes.ShowsKey: ("test_no_secret_leak",),
    classes.ShowsHeaders: ("test_no_secret_leak",),
    classes.KeyInRepr: ("test_no_secret_leak",),
    classes.KeyInDict: ("test_no_secret_leak",),
    classes.TellsArguments: (("test_no_secret_leak_of_calls", "chat"),),
    classes.AsksForMetadata: ("test_metadata_cheap",),
    classes.Swallows: ("test_unknown_init_argument_raises",),
    classes.Forgets: ("test_roundtrip_dict",),
    classes.Unpicklable: ("test_pickle_after_use", "test_pickle_after_use_async"),
    classes.Frozen: ("test_callback_manager_assignable",),
    classes.Nameless: ("test_class_name",),
    classes.InDisguise: ("test_async_is_own",),
    classes.dropping(type(BLOCKS["several texts"][0])): (
        "test_predict",
        ("test_blocks", BLOCKS["several texts"]),
    ),
}
EMBEDDINGS: dict[type[OPEAEmbedding], tuple[Any, ...]] = {
    others.Swapped: (
        "test_batch_order",
        "test_batch_order_async",
        "test_batches",
        ("test_batches_async", 2),
        "test_retriever",
    ),
    others.OneLost: ("test_batch_order", "test_batches"),
    others.FewerWillDo: ("test_count",),
    others.Strings: ("test_query",),
    others.Unprefixed: ("test_prefixes",),
    others.Loud: ("test_events", "test_rate_limiter_once"),
    others.KeyInEmbedding: ("test_no_secret_leak", "test_ingestion_cache"),
    others.AlwaysAsks: ("test_empty",),
}
RERANKERS: dict[type[OPEARerank], tuple[Any, ...]] = {
    others.Unsorted: ("test_order", "test_query_engine"),
    others.AllOfThem: ("test_top_n",),
    others.ScoresOthers: ("test_nodes_not_changed",),
    others.AnyQuery: ("test_query_none",),
    others.Unranked: ("test_error_raises",),
    others.TextOnly: ("test_metadata",),
    others.Silent: ("test_events",),
    others.InAThread: ("test_async_is_own",),
}


class LLMs(EveryFlag, LLMConformance):
    one_request_params: Any = {"max_concurrent": 1, "queue_timeout": 0.5}


class Embeddings(Vectors, EmbeddingConformance):
    pass


class Rerankers(Ranks, RerankConformance):
    pass


def cases() -> Iterator[Any]:
    """Suite, the setting that names the class, the faulty class,
    one of the tests that must notice.
    """
    for name, (change, tests) in ANSWERS.items():
        yield from _cases(LLMs, "llm", broken(change), name, tests)
    for suite, kind, table in (
        (LLMs, "llm", CLASSES),
        (Embeddings, "embedding", EMBEDDINGS),
        (Rerankers, "rerank", RERANKERS),
    ):
        for cls, tests in table.items():
            yield from _cases(suite, kind, cls, cls.__name__, tests)


def _cases(suite: type, kind: str, cls: type, fault: str, tests: tuple[Any, ...]) -> Iterator[Any]:
    for test in tests:
        name, *arguments = test if isinstance(test, tuple) else (test,)
        yield pytest.param(
            suite, kind, cls, name, arguments, id=f"{fault}-{name.removeprefix('test_')}"
        )


CASES = list(cases())
each_case = pytest.mark.parametrize(("suite", "kind", "cls", "name", "arguments"), CASES)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.always(upstream)
        yield server


@pytest.fixture
def run(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Any:
    """Runs a test of a suite as pytest would, on this class."""

    def run(suite: type, kind: str, cls: type, name: str, arguments: list[Any]) -> None:
        params = {**getattr(suite(), f"{kind}_params"), "api_base": server.url}
        under_test: Any = type(
            suite.__name__, (suite,), {f"{kind}_class": cls, f"{kind}_params": params}
        )()
        test = getattr(under_test, name)
        fixtures = {"monkeypatch": monkeypatch, "caplog": caplog}
        wanted = [fixtures[each] for each in inspect.signature(test).parameters if each in fixtures]
        if hasattr(under_test, "_words_are_tokens"):
            inspect.unwrap(type(under_test)._words_are_tokens)(under_test, monkeypatch)
        rest = test(*arguments, *wanted)
        if inspect.isawaitable(rest):
            asyncio.run(_awaited(rest))

    return run


async def _awaited(rest: Any) -> None:
    await rest


@each_case
@pytest.mark.filterwarnings("ignore")
def test_a_fault_is_caught(
    run: Any, suite: type, kind: str, cls: type, name: str, arguments: list[Any]
) -> None:
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(suite, kind, cls, name, arguments)


WITHOUT = {(case.values[3], repr(case.values[4])): case for case in CASES}
OURS = {"llm": OPEALLM, "embedding": OPEAEmbedding, "rerank": OPEARerank}


@pytest.mark.parametrize(
    ("suite", "kind", "cls", "name", "arguments"),
    [pytest.param(*case.values, id=case.values[3]) for case in WITHOUT.values()],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # core's, as the suite's agent tests ignore them
def test_without_the_fault_it_passes(
    run: Any, suite: type, kind: str, cls: type, name: str, arguments: list[Any]
) -> None:
    run(suite, kind, OURS[kind], name, arguments)
