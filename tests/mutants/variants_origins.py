"""Rules about whose secrets go where, broken:
keys, headers, certificates and borrowed clients, through every copy.
"""

from __future__ import annotations

from variant import TRANSPORT, Variant

_BINDING = "opea_core/secret_origins.py"
_SETTINGS = "opea_core/settings.py"
_OPEA = "opea_core/opea.py"
_MADE = "opea_core/adapters/client_settings.py"
_CONNECTION = "opea_core/adapters/connection.py"
_BORROWED = "opea_core/transport/http/user_clients.py"
_BOUND = "tests/core/test_secret_origins.py"
_ORIGINS = "tests/test_origins.py"

VARIANTS = [
    # --- what is bound
    Variant(
        "K1: nothing is compared",
        _BINDING,
        "names if not targets <= given_for[name]}",
        "() if targets}",
        _BOUND,
    ),
    Variant(
        "K1: one server in common is enough",
        _BINDING,
        "if not targets <= given_for[name]}",
        "if not targets & given_for[name]}",
        _BOUND,
    ),
    Variant(
        "K2: what both have goes to neither",
        _BINDING,
        " if _origin(spec) in given_for[name]})\n            for",
        " if False})\n            for",
        _BOUND,
    ),
    Variant(
        "K1: a list of servers is none",
        _BINDING,
        "    if specs is None:\n        return frozenset(",
        "    if specs is None or specs:\n        return frozenset(",
        _ORIGINS + " -k within",
    ),
    Variant(
        "K2: headers of one replace those of all",
        _BINDING,
        "    if secrets.keys() & _HEADERS:",
        "    if False:",
        _BOUND,
    ),
    Variant(
        "K3: the environment has a key for everybody",
        _BINDING,
        '        kept["api_key"] = ""',
        "        pass",
        _BOUND,
    ),
    Variant(
        "K1: a certificate goes to any server",
        _BINDING,
        "names = SECRETS & given_for.keys() & options.keys()",
        'names = (SECRETS - {"cert"}) & given_for.keys() & options.keys()',
        TRANSPORT + "test_tls.py -k stays",
    ),
    Variant(
        "K1: metadata gives its key to any URL",
        _SETTINGS,
        "    if names_servers(below):\n",
        "    if False:\n",
        _BOUND,
    ),
    # --- copies
    Variant(
        "K2: defaults of a subclass are anybody's",
        _CONNECTION,
        "cls._take_client(values, defaults_given_for(cls, defaults), now)",
        "cls._take_client(values, {}, now)",
        _ORIGINS + " -k subclass",
    ),
    Variant(
        "K2: a subclass inherits the key of another server",
        "opea_core/adapters/class_defaults.py",
        "next((place for place, each in enumerate(line) if name in each.__annotations__), 0)",
        "0",
        _ORIGINS + " -k a_subclass_of_it",
    ),
    Variant(
        "K2: nothing is given on purpose",
        _CONNECTION,
        "now = {cls._core_name(name) for name in given.get(_NOW, ())}",
        "now: set[str] = set()",
        _ORIGINS + " -k on_purpose",
    ),
    Variant(
        "K2: a copy remembers what did not go along",
        _MADE,
        "    remember(made, ClientSettings(bound, lent_for))\n",
        "    remember(made, ClientSettings(settings.keywords, lent_for))\n",
        _ORIGINS + " -k 'copy_of_a_copy or pickled'",
    ),
    Variant(
        "K2: a copy keeps what did not go along",
        _CONNECTION,
        "            cls._forget(values, keywords, client)\n",
        "            pass\n",
        _ORIGINS + " -k pickled",
    ),
    Variant(
        "K2: headers in model_kwargs make those below new",
        _CONNECTION,
        "            cls._leave_behind(values, given, now)\n",
        "            pass\n",
        _ORIGINS + " -k model_kwargs",
    ),
    Variant(
        "K2: another default makes a field free",
        _CONNECTION,
        "return name in cls._server_fields() or (field is not None and bool(field.frozen))",
        "return field is not None and bool(field.frozen)",
        _ORIGINS + " -k its_object",
    ),
    # --- borrowed clients
    Variant(
        "K12: a client goes along",
        _MADE,
        "        made._lend_client_to(name, lent)\n",
        "        pass\n",
        _ORIGINS + " -k a_client",
    ),
    Variant(
        "K12: a copy of a copy lends the client again",
        _MADE,
        "ClientSettings(bound, lent_for)",
        "ClientSettings(bound)",
        _ORIGINS + " -k a_client",
    ),
    Variant(
        "K12: one client is lent as the other is",
        "opea_core/transport/drivers/pair.py",
        "borrowed_async(async_http_client, async_transport, self.async_lent)",
        "borrowed_async(async_http_client, async_transport, self.lent)",
        _ORIGINS + " -k two_clients",
    ),
    Variant(
        "K12: a client's credentials go to any server",
        _BORROWED,
        'return _checked(client, request), {**options, "auth": None}',
        "return _checked(client, request), options",
        _ORIGINS + " -k a_client",
    ),
    # --- what a call names
    Variant(
        "E8: the user of a foreign URL is left out",
        "opea_core/endpoint_methods.py",
        "                base_url=key[0],\n",
        "                base_url=url.origin,\n",
        _BOUND + " -k user",
    ),
    Variant(
        "E8: the user of a URL of ours is left out",
        "opea_core/endpoint_methods.py",
        ("            ()\n            if base.user is not None\n            else tuple("),
        "            tuple(",
        _BOUND + " -k user",
    ),
    Variant(
        "K5: a URL in the place of another option is quoted with its password",
        "opea_core/errors.py",
        "super().__init__(redact_urls(message), hint, **details)",
        "super().__init__(message, hint, **details)",
        "tests/core/test_opea_secrets.py -k option_that_is_none",
    ),
    Variant(
        "K1: a foreign URL gets the certificate",
        "opea_core/endpoint_methods.py",
        "                trust_env=base.trust_env,\n",
        "                trust_env=base.trust_env,\n                cert=base.cert,\n",
        TRANSPORT + "test_tls.py -k stays",
    ),
    Variant(
        "K1: a call's key is for all servers",
        "opea_core/endpoint_methods.py",
        "if call.spec.key is not None and len(servers) > 1:",
        "if len(servers) > 9:",
        _BOUND + " -k one_server",
    ),
]
