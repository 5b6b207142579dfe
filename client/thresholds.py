"""Distances below which two faces are taken for one person, as `python -m client evaluate` measured them.

Keys are embedding identities: a threshold holds for one network, its weights and its preprocessing, and for no other.
"""

THRESHOLDS: dict[str, float] = {}
