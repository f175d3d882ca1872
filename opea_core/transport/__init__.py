"""The only place that does I/O, waits, locks, or knows a clock, a thread or an event loop."""
