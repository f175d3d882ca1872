"""Many clients and servers on virtual time: the real call path, without sockets, sleep or a clock.

``python -m benchmarks.simulation`` runs every scenario and writes the figures
and plots of ``docs/figures``.
"""
