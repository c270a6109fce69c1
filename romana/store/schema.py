"""The version of the layout of keys and values that this program reads and writes (`romana.v1.store.Schema`).

The minor number grows with additions that older programs may ignore, the major one with changes that they would misread.
"""

__all__ = ["KEY", "MAJOR", "MINOR"]

KEY = "schema"
MAJOR = 1
MINOR = 0
