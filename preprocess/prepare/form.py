"""The form of what is prepared, apart from all else: the launcher, which compares it, is small."""

FORM = 5
"""Raised when a preparation writes other files from the same source: an older one's are completed, or made again."""

OLDEST = 3
"""The oldest form that can be completed."""
