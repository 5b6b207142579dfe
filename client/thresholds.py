"""Distances below which two faces are taken for one person: those of highest accuracy in docs/accuracy.md.

Keys are embedding identities: a threshold holds for one network, its weights and its preprocessing, and for no other.
"""

THRESHOLDS: dict[str, float] = {
    "facenet-704afe26766c-prewhiten": 1.105,
    "facenet-704afe26766c-fixed": 1.171,
    "arcface-d8ba40c0127f-insightface": 1.086,
}
