"""Whether, when and where to send: plain state machines, (event, now) in, decision out.

Time is monotonic integer nanoseconds and always an argument; chance is a function given at
construction.
"""

SECOND = 1_000_000_000
"""Nanoseconds."""
