"""What servers differ in: what each takes, and how it spells it."""

from __future__ import annotations

from typing import Literal

from opea_core.values import Count, Value


class Capabilities(Value):
    """What a server takes and how it spells it. Learned from refusals unless set."""

    dialect: Literal["auto", "chat", "responses"] = "auto"
    """What chat calls are made in: ``/chat/completions`` or ``/responses``.

    ``auto`` begins with chat, and goes over once the server's own words ask for it.
    """
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The wire name of the token limit; None sends it as the caller wrote it."""
    developer_role: bool = False
    """Whether the role ``developer`` is understood; else it is sent as ``system``."""
    system_role: bool = True
    """Whether the role ``system`` is understood; else its text stands before the first user's."""
    late_system: Literal["keep", "user", "merge"] = "keep"
    """What becomes of a system message behind others.

    It is sent as it is, as the user's, or as part of the first (strict templates).
    """
    send_reasoning: Literal["auto", "never", "tool_turns", "always", "keep"] = "auto"
    """Which assistant messages of the history carry their reasoning back.

    ``keep`` sends what stands in them.
    """
    reasoning_field: str | None = None
    """The name to send it under; None for the name the server used."""
    prune: bool = True
    """Whether what means nothing is left out.

    A tool choice without tools, empty lists, stream options without a stream.
    """
    stream_usage: bool = True
    """Whether streams ask for token counts where the call says nothing of ``stream_options``.

    None there asks for none.
    """
    think_tags: bool = False
    """Take ``<think>...</think>`` out of the content and into the reasoning."""
    alternate_roles: bool = False
    """Join messages of the same role that follow each other (strict templates)."""
    tool_content: Literal["", "null", "omit", "keep"] = ""
    """What stands as content beside tool calls when there is no text."""
    content_lists: Literal["keep", "flatten", "text"] = "flatten"
    """How lists of content parts are sent.

    As they are; as one string where all parts are plain text; or where all are text, also if they
    carry more (``cache_control``).
    """
    tool_choice: Literal["named", "required", "auto"] = "named"
    """The most that may be asked.

    A named tool; else ``required`` with only that tool in the list; else ``auto``.
    """
    tool_names: Literal["keep", "clean", "plain"] = "clean"
    """How names of tools are sent.

    As they are; in at most 64 letters, digits, ``_`` and ``-`` (OpenAI's rule); or without ``-``,
    beginning with a letter. Calls come back under the caller's own names.
    """
    tool_media: bool = False
    """Whether a tool's message may hold images and the like.

    Else they follow in a user's message, as the protocol wants it.
    """
    structured_output: Literal["json_schema", "function_calling", "json_mode"] | None = None
    """How an answer of a given schema (``output_schema=``) is asked for.

    None tries ``json_schema``, then learns. With ``json_mode`` the schema stands in the last
    message.
    """
    strict_finish: bool = False
    """Raise when a stream ends with ``[DONE]`` but without a finish reason."""
    tool_id_length: Count | None = None
    """Ids of tool calls are sent as exactly so many letters and digits; None for any.

    The same id always becomes the same one.
    """
    media: frozenset[Literal["image", "audio", "video", "file"]] | None = None
    """What the server takes besides text, where that is known.

    LlamaIndex's blocks of other kinds are refused before sending.
    """
    cache_points: bool = False
    """Whether content parts may carry ``cache_control``.

    Else LlamaIndex's cache points are left out.
    """
    rerank_beside_v1: bool = False
    """Whether ``/rerank`` stands beside ``/v1`` and not below it."""
    embedding_dtype: Literal["float32", "int8"] = "float32"
    """What base64 vectors are made of."""
    embedding_format: Literal["float", "base64"] | None = None
    """How vectors are asked for where the call does not say; None leaves it to the server."""
    embedding_batch: Count | None = None
    """The most texts that are embedded by one request; None is found out by refusals."""
    context_window: Count | None = None
    """Tokens that the model takes, for an endpoint that has no ``context_window`` of its own."""
    tools: bool | None = None
    """Whether tools are called; None where that is not known."""
    parallel_tools: bool | None = None
    """Whether several are called at once."""
    tools_in_streams: bool | None = None
    """Whether they are called in streams, too."""
    reasoning: bool | None = None
    """Whether reasoning comes, by itself or when it is asked for."""
    dropped: frozenset[str] = frozenset()
    """Parameters that the server refused; they are not sent again."""
    strip_message_keys: frozenset[str] = frozenset({"annotations", "usage"})
    """Keys of assistant messages that are answers only."""

    def below(self, outranking: Capabilities) -> Capabilities:
        """These where the other ones set nothing; what is dropped by either is dropped."""
        set_there = {name: getattr(outranking, name) for name in outranking.model_fields_set}
        if "dropped" in set_there:
            set_there["dropped"] |= self.dropped
        merged: Capabilities = self.replace(**set_there)
        return merged

    def as_given(self) -> Capabilities:
        """What changes nothing of a request, but for what was set."""
        if not self.model_fields_set:
            return AS_GIVEN
        given: Capabilities = AS_GIVEN.replace(
            **{name: getattr(self, name) for name in self.model_fields_set}
        )
        return given


AS_GIVEN = Capabilities(
    developer_role=True,
    send_reasoning="keep",
    prune=False,
    stream_usage=False,
    tool_media=True,
    tool_content="keep",
    content_lists="keep",
    tool_names="keep",
    strip_message_keys=frozenset(),
)
"""A request goes out as the caller wrote it."""
