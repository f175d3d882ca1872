"""Driving the flow of a call: one driver for threads, one for event loops."""
