"""What is true: values and decisions, with the standard library only and no await, clock or I/O.

Called by every floor above; ``now`` is always an argument, in seconds since the epoch (wall clock).
"""
