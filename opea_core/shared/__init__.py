"""Limits that several processes or hosts keep together: ``OPEA(shared_limits=...)``."""

from opea_core.shared.stores import RedisLimits, SharedLimits, SQLiteLimits

__all__ = ["RedisLimits", "SQLiteLimits", "SharedLimits"]
