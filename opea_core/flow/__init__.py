"""How a call goes, told once for sync and async: a generator of effects that a driver performs."""
