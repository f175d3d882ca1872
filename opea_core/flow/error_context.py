"""What an error must know of a call: where it went, and what must not be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opea_core.flow.effects import CallSpec, Reply, Request
from opea_core.policy.endpoint import EndpointState
from opea_core.types import ChatResponse, Choice
from opea_core.wire.headers import request_id, shown
from opea_core.wire.redact import say

LONGEST_QUOTE = 400  # characters of the server's words in the first line; ``body`` has them all
LONGEST_NAME = 200  # of a name, a code or a request id


@dataclass(slots=True)
class ErrorContext:
    """Which endpoint and request an error is about."""

    spec: CallSpec
    endpoint: EndpointState
    request: Request
    model: str
    model_given: bool
    key_sent: bool
    foreign_key: bool
    """OPENAI_API_KEY is set, which is never sent."""
    key: str | None = field(default=None, repr=False)
    left_out: tuple[str, ...] = ()
    """What the caller gave and the endpoint is known to refuse."""

    def __str__(self) -> str:
        url, label = self.endpoint.url, self.endpoint.label
        return url.root if label == url.host else f"{label} ({url.root})"

    def redact(self, text: str) -> str:
        """The text without anything secret that went out with the request."""
        return self.request.redact(text)

    def _redacted(self, text: str | None) -> str | None:
        return None if text is None else self.redact(text)

    def say(self, text: str, most: int = LONGEST_QUOTE) -> str:
        """A server's words as they may be shown."""
        return say(text, self.request.redact, most)

    def request_id(self, reply: Reply) -> str:
        """The id of a request, by which its server's log finds it."""
        return self.say(request_id(reply.headers) or self.spec.request_id, LONGEST_NAME)

    def shown(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of an answer, without anything secret.

        Neither the server's secrets nor what it echoes of the request's.
        """
        fit = shown(headers)
        # Headers hold no broken lines, and to look for such spellings costs each answer.
        if not self.request.redact.holds("\n".join((*fit, *fit.values())), broken=False):
            return fit
        return {self.redact(name): self.redact(value) for name, value in fit.items()}

    def partial(self, answer: ChatResponse | None) -> ChatResponse | None:
        """What came of an answer before it broke off.

        Its text is without anything secret, if it echoes any.
        """
        if answer is None or not self.request.redact.holds(repr((answer.choices, answer.raw))):
            return answer
        # Arguments and unknown fields may hold the key in any form, so they are not kept.
        choices = [
            Choice(
                index=choice.index,
                role=self.redact(choice.role),
                content=self.redact(choice.content),
                reasoning=self.redact(choice.reasoning),
                finish_reason=self._redacted(choice.finish_reason),
                refusal=self._redacted(choice.refusal),
            )
            for choice in answer.choices
        ]
        return replace(
            answer,
            choices=choices,
            raw={},
            id=self.redact(answer.id),
            model=self.redact(answer.model),
        )
