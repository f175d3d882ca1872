"""The standard tests of langchain-tests 1.1.9, by name: all of these run, and no others."""

from __future__ import annotations

OVERRIDES = "test_no_overrides_DO_NOT_OVERRIDE"
BOTH_OUTPUTS = ("model0", "model1")
"""Messages as they are by default, and with ``output_version="v1"``."""
SCHEMAS = ("pydantic", "typeddict", "json_schema")

CHAT: dict[str, tuple[str, ...]] = {
    "test_stream": BOTH_OUTPUTS,
    "test_astream": BOTH_OUTPUTS,
    "test_tool_calling": BOTH_OUTPUTS,
    "test_agent_loop": BOTH_OUTPUTS,
    "test_structured_output": SCHEMAS,
    "test_structured_output_async": SCHEMAS,
} | dict.fromkeys(
    (
        OVERRIDES,
        "test_invoke",
        "test_ainvoke",
        "test_stream_events_v3",
        "test_astream_events_v3",
        "test_invoke_with_model_override",
        "test_ainvoke_with_model_override",
        "test_stream_with_model_override",
        "test_astream_with_model_override",
        "test_batch",
        "test_abatch",
        "test_conversation",
        "test_double_messages_conversation",
        "test_usage_metadata",
        "test_usage_metadata_streaming",
        "test_stop_sequence",
        "test_tool_calling_async",
        "test_bind_runnables_as_tools",
        "test_tool_message_histories_string_content",
        "test_tool_message_histories_list_content",
        "test_tool_choice",
        "test_tool_calling_with_no_arguments",
        "test_tool_message_error_status",
        "test_structured_few_shot_examples",
        "test_structured_output_pydantic_2_v1",
        "test_structured_output_optional_param",
        "test_json_mode",
        "test_pdf_inputs",
        "test_audio_inputs",
        "test_image_inputs",
        "test_image_tool_message",
        "test_pdf_tool_message",
        "test_anthropic_inputs",
        "test_message_with_name",
        "test_stream_time",
        "test_unicode_tool_call_integration",
    ),
    (),
)
CHAT_UNIT: dict[str, tuple[str, ...]] = {
    "test_with_structured_output": ("PersonA",)
} | dict.fromkeys(
    (
        OVERRIDES,
        "test_init",
        "test_init_from_env",
        "test_init_streaming",
        "test_bind_tool_pydantic",
        "test_standard_params",
        "test_standard_params_model_override",
        "test_serdes",
        "test_init_time",
    ),
    (),
)
EMBEDDINGS: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        OVERRIDES,
        "test_embed_query",
        "test_embed_documents",
        "test_aembed_query",
        "test_aembed_documents",
    ),
    (),
)
EMBEDDINGS_UNIT: dict[str, tuple[str, ...]] = dict.fromkeys(
    (OVERRIDES, "test_init", "test_init_from_env"), ()
)


def items(names: dict[str, tuple[str, ...]]) -> list[str]:
    """The names of the test items, one for each parameter."""
    return [
        f"{name}[{value}]" if value else name
        for name, values in names.items()
        for value in values or ("",)
    ]
