"""Where grants are kept: a file for the processes of one host, or Redis for several hosts.

A store does one thing: in one step, which nobody can come between, it forgets members that are
gone, adds up what the others hold, and gives a member what it wants as far as that leaves room.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from opea_core.errors import ConfigurationError
from opea_core.shared.reports import LONGEST, MOST

LEASE = 4.0
"""Seconds for which a grant holds that is not renewed."""
LINGER = 61.0
"""Seconds for which a minute's limit remembers what a member that is gone may have sent."""
_TRIES = 100
_NETWORK_FILES = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "fuse.sshfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
    }
)


class Ask(NamedTuple):
    """What a member asks of one limit."""

    key: str
    limit: int
    used: int
    wanted: int
    lingers: bool
    """Whether what a member used counts on for a while when it is gone."""
    report: str
    """What it tells the others, as JSON."""


class Granted(NamedTuple):
    """What it may use until the lease ends, and what the others told."""

    amount: int
    reports: dict[str, str]
    """By member, its own among them."""


class Store(Protocol):
    """What keeps grants."""

    def exchange(self, member: str, asks: Sequence[Ask]) -> list[Granted]:
        """Renew the grants of a member, all in one step. Raises OSError if that cannot be."""
        ...

    def leave(self, member: str, keys: Sequence[str]) -> None:
        """The member is gone."""
        ...

    def close(self) -> None:
        """Let the connection go."""
        ...


@dataclass(frozen=True)
class SQLiteLimits:
    """Limits shared by the processes of one host, in a file.

    ``namespace`` keeps several groups in one file apart.
    """

    path: str | Path
    namespace: str = "opea"

    def check(self) -> None:
        """Raise ConfigurationError for what can never be a file."""
        try:
            path = Path(self.path).expanduser()
            can_be = bool(path.name) and b"\0" not in os.fsencode(path)
        # A home of nobody, half a character, no text at all.
        except (RuntimeError, ValueError, TypeError):
            can_be = False
        if not can_be:
            raise ConfigurationError(
                "shared_limits names no file.", 'Write "sqlite:///limits.db", or a whole path.'
            )

    def open(self) -> Store:
        """A connection of this thread. Raises ConfigurationError for a path that cannot work."""
        return _SQLite(self)


@dataclass(frozen=True, repr=False)
class RedisLimits:
    """Limits shared by several hosts, in Redis (extra ``[redis]``); the URL may hold a password."""

    url: str
    namespace: str = "opea"

    def check(self) -> None:
        """Raise ConfigurationError if the package is missing, or the URL can never work."""
        self.open().close()

    def open(self) -> Store:
        """A client, not connected yet. Raises ConfigurationError as ``check`` does."""
        return _Redis(self)

    def __repr__(self) -> str:
        return f"RedisLimits({_without_password(self.url)!r}, namespace={self.namespace!r})"


SharedLimits = SQLiteLimits | RedisLimits


def shared_limits(value: Any) -> SharedLimits | None:
    """A setting as an object: ``sqlite:///path``, ``redis://host:6379/0``, or one already.

    Raises ConfigurationError for what can never work.
    """
    found = _named(value) if isinstance(value, str) else value
    if found is None and value is None:
        return None
    if not isinstance(found, SQLiteLimits | RedisLimits):
        raise ConfigurationError(
            "shared_limits names no store that is known.",
            'Write "sqlite:///limits.db" (one host) or "redis://host:6379/0" (several), or pass'
            " SQLiteLimits(path) or RedisLimits(url).",
        )
    found.check()
    return found


def _named(text: str) -> SharedLimits | None:
    if text.startswith("sqlite:///"):
        return SQLiteLimits(text.removeprefix("sqlite:///"))
    return RedisLimits(text) if text.split("://", 1)[0] in ("redis", "rediss", "unix") else None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}{parts.path}"


# --- one host


class _SQLite:
    def __init__(self, limits: SQLiteLimits) -> None:
        path = Path(limits.path).expanduser()
        self._namespace = limits.namespace
        kind = _file_system(path)
        if kind in _NETWORK_FILES:
            raise ConfigurationError(
                f"shared_limits: {path} is on a network folder ({kind}).",
                "SQLite's write-ahead log needs memory that all processes share, which only a local"
                " file has. Use a local path, or Redis for several hosts.",
            )
        try:
            self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None)
            # Others write there, too, and what is no text must not end the reading.
            self._db.text_factory = lambda data: data.decode("utf-8", "replace")
            _use_write_ahead_log(self._db)
            self._db.execute("PRAGMA synchronous=OFF")  # after a crash all grants are void anyway
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS grants (key TEXT, member TEXT, amount INTEGER,"
                " ends REAL, lingers INTEGER, report TEXT, PRIMARY KEY (key, member))"
            )
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"shared_limits: {path} cannot be used ({error}).",
                "Give a path in a folder that this process may write to.",
            ) from None

    def exchange(self, member: str, asks: Sequence[Ask]) -> list[Granted]:
        try:
            # The write lock is taken at once: two that read first would both grant what is left.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                now = time.monotonic()  # one clock for all processes of a host, without steps
                found = [self._grant(member, ask, now) for ask in asks]
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
        return found

    def _grant(self, member: str, ask: Ask, now: float) -> Granted:
        key = f"{self._namespace}:{ask.key}"
        # An end further away than any lease is of another start of the machine, and what no member
        # would write must not hold a share for ever.
        self._db.execute(
            "DELETE FROM grants WHERE key = ? AND (ends + ? * lingers >= ? AND ends <= ?"
            " AND lingers IN (0, 1) AND typeof(amount) = 'integer' AND amount BETWEEN 0 AND ?)"
            " IS NOT TRUE",
            (key, LINGER, now, now + 2 * LEASE, MOST),
        )
        rows = self._db.execute(
            "SELECT member, amount, ends, CASE WHEN length(report) > ? THEN '' ELSE report END"
            " FROM grants WHERE key = ?",
            (LONGEST, key),
        ).fetchall()
        others = sum(amount for name, amount, _, _ in rows if name != member)
        # What is in use is never taken; it comes back as calls end (decision 49).
        amount = max(ask.used, min(ask.wanted, ask.limit - others))
        self._db.execute(
            "INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?)",
            (key, member, amount, now + LEASE, int(ask.lingers), ask.report),
        )
        reports = {name: report for name, _, ends, report in rows if ends >= now}
        return Granted(amount, {**reports, member: ask.report})

    def leave(self, member: str, keys: Sequence[str]) -> None:
        now = time.monotonic()
        try:
            for key in keys:
                self._db.execute(
                    # Ended and not deleted: what was sent in this minute still counts (W46).
                    "UPDATE grants SET ends = ? WHERE key = ? AND member = ?",
                    (now, f"{self._namespace}:{key}", member),
                )
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        self._db.close()


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """The first to open a file changes its mode; SQLite does not let the others wait for that."""
    for _ in range(_TRIES):
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(2.0 / _TRIES)
        else:
            return
    db.execute("PRAGMA journal_mode=WAL")


def _file_system(path: Path) -> str:
    """The kind of file system a path is on, where the system tells (Linux)."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    except OSError:
        return ""
    # The folder's, as the file may not be there yet, and a link may lead elsewhere.
    real = os.path.realpath(path.parent)
    found = ("", "")
    for line in mounts:
        _, where, kind, *_ = line.split(" ")
        where = where.replace("\\040", " ")
        inside = real == where or real.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(found[0]):
            found = (where, kind)
    return found[1]


# --- several hosts

# One script, as nothing can come between its steps; by the clock of Redis, which hosts share.
_READ = f"""
local function is_from_to(value, least, most)
  return type(value) == 'number' and value >= least and value <= most
end
local function read(text)
  local good, row = pcall(cjson.decode, text)
  if good and type(row) == 'table' and is_from_to(row.ends, 0, {MOST})
    and is_from_to(row.lingers, 0, 1) and is_from_to(row.amount, 0, {MOST})
    and type(row.report) == 'string' and #row.report <= {4 * LONGEST} then
    return row
  end
end
"""
_SCRIPT = """
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1000000
local member, lease, linger = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}
for n, key in ipairs(KEYS) do
  local at = 4 + (n - 1) * 5
  local limit, used = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local wanted, lingers = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local others, alive = 0, {}
  local rows = redis.call('HGETALL', key)
  for i = 1, #rows, 2 do
    local row = read(rows[i + 1])
    -- what no member would write must not hold a share for ever
    if not row or row.ends + linger * row.lingers < now or row.ends > now + 2 * lease then
      redis.call('HDEL', key, rows[i])
    elseif rows[i] ~= member then
      others = others + row.amount
      if row.ends >= now then
        alive[#alive + 1] = rows[i]
        alive[#alive + 1] = row.report
      end
    end
  end
  local amount = math.max(used, math.min(wanted, limit - others))
  redis.call('HSET', key, member, cjson.encode(
    {amount = amount, ends = now + lease, lingers = lingers, report = ARGV[at + 4]}))
  redis.call('EXPIRE', key, math.ceil(2 * (lease + linger)))
  found[n] = {amount, alive}
end
return found
"""
_LEAVE = """
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1000000
for _, key in ipairs(KEYS) do
  local row = read(redis.call('HGET', key, ARGV[1]) or '')
  if row then
    row.ends = now - 0.001
    redis.call('HSET', key, ARGV[1], cjson.encode(row))
  end
end
return 1
"""


class _Redis:
    def __init__(self, limits: RedisLimits) -> None:
        try:
            import redis
        except ImportError:
            raise ConfigurationError(
                "shared_limits in Redis needs the package redis.",
                "Install it: pip install 'opea-core[redis]'.",
            ) from None
        self._prefix = f"{{{limits.namespace}}}:"  # all keys in one slot of a cluster
        # Shorter than the lease: an answer after its end would be of no use.
        timeouts = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
        try:
            self._client: Any = redis.Redis.from_url(limits.url, decode_responses=True, **timeouts)
            # Only a connection looks at what stands behind the question mark.
            self._client.connection_pool.make_connection()
        except Exception as error:  # noqa: BLE001
            # redis-py raises all sorts of errors, whose words may hold the password.
            raise ConfigurationError(
                f"shared_limits: redis-py cannot use this URL ({type(error).__name__}).",
                'Write it like "redis://:password@host:6379/0", with % escapes in the password;'
                " behind a question mark only options that redis-py knows.",
            ) from None
        self._exchange = self._client.register_script(_READ + _SCRIPT)
        self._leave = self._client.register_script(_READ + _LEAVE)

    def exchange(self, member: str, asks: Sequence[Ask]) -> list[Granted]:
        args: list[Any] = [member, LEASE, LINGER]
        for ask in asks:
            args += [ask.limit, ask.used, ask.wanted, int(ask.lingers), ask.report]
        try:
            rows = self._exchange(keys=[self._prefix + ask.key for ask in asks], args=args)
        except Exception as error:  # noqa: BLE001
            # redis-py raises all sorts of errors, whose words may hold the password.
            raise OSError(type(error).__name__) from None
        return [
            Granted(int(amount), {**_pairs(alive), member: ask.report})
            for (amount, alive), ask in zip(rows, asks, strict=True)
        ]

    def leave(self, member: str, keys: Sequence[str]) -> None:
        try:
            self._leave(keys=[self._prefix + key for key in keys], args=[member])
        except Exception as error:  # noqa: BLE001
            # redis-py raises all sorts of errors, whose words may hold the password.
            raise OSError(type(error).__name__) from None

    def close(self) -> None:
        self._client.close()


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
