"""The decisions of the cluster, and nothing else.

Pure: no I/O, no clock, no randomness. Time and ids come in as arguments, decisions are returned
and carried out by the layers above. Monotonic times are floats in seconds; wall-clock times are
aware `datetime`s in UTC; the two never mix.
"""
