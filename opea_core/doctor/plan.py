"""The course of a diagnosis: which probes are asked, in what order, within how many requests.

It is a generator that yields what to ask and takes what came, so that sync and async code share it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from opea_core.config import Endpoint
from opea_core.doctor import readers
from opea_core.doctor.known import Known
from opea_core.doctor.outcome import Ask, AtOnce, Outcome, Row, shape_of
from opea_core.doctor.probes import PROBES, Probe
from opea_core.doctor.samples import COUNT
from opea_core.errors import AuthenticationError, BadAnswerError, ConfigurationError
from opea_core.flow.discover import Show, chosen_model

MOST = 40
"""Requests that a diagnosis makes at most."""
_BURST = 8
_WITH_TOOLS = ("tools in streams", "tool_choice required", "tool_choice named")

Steps = Generator[tuple[str, Ask | AtOnce], Any, Any]
"""What it is about, and what to ask; takes an Outcome, or a list of them."""


def diagnose_flow(endpoint: Endpoint, model: str | None, show: Show) -> Steps:
    """Ask a server what it can do; returns what is Known.

    Raises the error of the first request if nothing answers, or the key is wrong;
    ConfigurationError if a model must be named.
    """
    known = Known(base=endpoint.url.path)
    yield from _find_base(known)
    if model is None and not known.listed:
        raise ConfigurationError("The server lists no models.", "Name one with model=.")
    known.model = chosen_model(endpoint, known.listed, model, show) or ""
    _context(known)
    for probe in PROBES:
        if probe.when(known):
            yield from _probe(known, probe)
    if not known.is_yes("stream"):
        known.rows.pop("usage in streams", None)  # there is nothing that could have it
    _form_of_errors(known)
    _server(known)
    if known.is_yes("chat"):
        yield from _at_once(known)
    return known


def _asked(known: Known, name: str, ask: Ask) -> Generator[tuple[str, Ask], Outcome, Outcome]:
    """One request; a second one if the server was only busy."""
    known.requests += 1
    outcome = yield name, ask
    if outcome.is_busy and known.requests < MOST:
        known.requests += 1
        outcome = yield name, ask
    return outcome


def _find_base(known: Known) -> Steps:
    """Where the operations are: as the URL says, or with ``/v1`` more or less."""
    given = known.base
    other = given.removesuffix("/v1") if given.endswith("/v1") else f"{given}/v1"
    first: Outcome | None = None
    for base in (given, other):
        ask = Ask("models", f"{base}/models", method="GET")
        outcome = yield from _asked(known, "models", ask)
        first = first or outcome
        if outcome.error is None:
            known.base, known.listed = base, outcome.answer
            ids = [model.id for model in known.listed]
            shown = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
            known.rows["base path"] = Row("base path", "yes", base or "/")
            known.rows["models"] = Row("models", "yes", shown)
            return
        if isinstance(outcome.error, AuthenticationError) or outcome.is_busy:
            raise outcome.error
        if outcome.status not in (404, 405) and not isinstance(outcome.error, BadAnswerError):
            break
    known.rows["models"] = Row("models", "no", first.words if first else "")


def _context(known: Known) -> None:
    """How many tokens the model takes, where the list says so."""
    entry = next((entry for entry in known.listed if entry.id == known.model), None)
    entry = entry or (known.listed[0] if len(known.listed) == 1 else None)
    length = entry.context_length if entry is not None else None
    detail = f"{length:,} tokens" if length else "the list of models does not say"
    known.rows["context length"] = Row("context length", "yes" if length else "unknown", detail)


def _probe(known: Known, probe: Probe) -> Steps:
    """Ask one probe and take what it found."""
    if known.requests >= MOST:
        _take(known, [Row(name, "unknown", "no request was left") for name in probe.refused])
        return
    outcome = yield from _asked(known, probe.name, probe.ask(known))
    rows = (
        list(probe.read(known, outcome))
        if outcome.error is None
        else _of_refusal(known, probe, outcome)
    )
    known.outcomes[probe.name] = outcome
    _take(known, rows)


def _take(known: Known, rows: list[Row]) -> None:
    """Keep rows; what is refused in one form may be taken in another, else the first one counts."""
    for row in rows:
        before = known.rows.get(row.name)
        mends = before is not None and before.value == "no" and row.value == "ignored"
        if before is None or mends or row.value == "yes" or before.value == "unknown":
            known.rows[row.name] = row


def _of_refusal(known: Known, probe: Probe, outcome: Outcome) -> list[Row]:
    """What an error says: that something is refused, or, of a wrong key, that it is checked."""
    rows = outcome.refused(*probe.refused)
    if probe.name in ("checks the key", "checks the model's name"):
        rows = [Row(probe.name, "unknown" if outcome.is_busy else "yes", outcome.words)]
    elif probe.name == "tools":
        rows += outcome.refused(*_WITH_TOOLS, "parallel tool calls")
    elif probe.name == "embedding batch" and not outcome.is_busy:
        limit = readers.batch_limit(outcome.words)
        said = f"at most {limit} texts" if limit else f"{readers.BATCH} texts are refused"
        rows = [Row(probe.name, "no", f"{said}: {outcome.words}")]
    elif probe.name == "reasoning by the template" and "reasoning" in known.rows:
        rows = []  # what the first way of asking found says more
    elif probe.name == "reasoning sent back" and readers.wants_reasoning(known):
        rows = outcome.refused("tool results")
    return rows


def _form_of_errors(known: Known) -> None:
    """Whether refusals of chats look as OpenAI's do."""
    chats = [outcome for outcome in known.outcomes.values() if outcome.ask.kind == "chat"]
    said = [outcome.error for outcome in chats if outcome.error is not None and outcome.error.body]
    if said:
        odd = next((shape for error in said if (shape := shape_of(error)) is not None), None)
        detail = odd or "as OpenAI's"
        known.rows["form of errors"] = Row("form of errors", "no" if odd else "yes", detail)


def _server(known: Known) -> None:
    """What stands behind the address, by all that it says of itself."""
    said = []
    for outcome in (known.outcomes.get("chat"), known.outcomes.get("completions")):
        if outcome is not None:
            headers = outcome.headers
            said += [f"{name}: {headers[name]}" for name in _TELLING if headers.get(name)]
    version = _document(known, "version").get("version")
    said += [f"version {version}"] if isinstance(version, str) else []
    build = _document(known, "props").get("build_info")
    said += [f"build {build}"] if isinstance(build, str) else []
    health = known.outcomes.get("health")
    if health is not None and health.error is None:
        said.append("/health answers")
    detail = "; ".join(dict.fromkeys(said))
    known.rows["server"] = Row(
        "server", "yes" if detail else "unknown", detail or "it does not say"
    )


_TELLING = ("server", "via", "x-powered-by", "x-litellm-version")


def _document(known: Known, name: str) -> dict[str, Any]:
    outcome = known.outcomes.get(name)
    return {} if outcome is None else outcome.document


def _at_once(known: Known) -> Steps:
    """How many requests the server works on at once before others wait or are refused."""
    count = min(_BURST, MOST - known.requests)
    name = "requests at once"
    if count < 2:
        known.rows[name] = Row(name, "unknown", "no request was left")
        return
    known.requests += count
    asks = tuple(known.chat(COUNT, 24) for _ in range(count))
    outcomes: list[Outcome] = yield name, AtOnce(asks)
    known.rows[name] = _crowd(known, name, outcomes)


def _crowd(known: Known, name: str, outcomes: list[Outcome]) -> Row:
    """What became of requests that were sent at once, beside one that was alone."""
    taken = sorted(outcome.seconds for outcome in outcomes if outcome.error is None)
    refusal = next((outcome for outcome in outcomes if outcome.error is not None), None)
    if refusal is not None and taken:
        return Row(name, "yes", f"{len(taken)} of {len(outcomes)}; the others: {refusal.words}")
    if not taken:
        return Row(name, "unknown", refusal.words if refusal is not None else "")
    alone = known.outcomes.get("seed")
    seconds = alone.seconds if alone is not None and alone.error is None else taken[0]
    return Row(name, "yes", f"{len(taken)}, in {taken[-1]:.2f} s; one alone took {seconds:.2f} s")
