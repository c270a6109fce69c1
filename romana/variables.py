"""Environment variables `ROMANA_SECTION_KEY` that set nothing, though they look as if they were meant to. Pure."""

import difflib
import re
from collections.abc import Iterable, Mapping

from romana.errors import Fault

__all__ = ["variable_fault"]

SECTION_LIKENESS = 0.75
"""difflib's ratio of two words: `etc` and `etcd` have 0.86, `agnet` and `agent` 0.8, `lab` and `log` 0.33."""

# What a Service `romana-etcd` puts into the environment of every pod of its namespace (Kubernetes documentation, "Service",
# "Discovering services", environment variables): nobody typed that, and a daemon must not die of it.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


def variable_fault(name: str, sections: Mapping[str, Iterable[str]]) -> Fault | None:
    """What is wrong with a variable's name, given the keys of all sections; None when it is known, or not ours."""
    match = re.fullmatch(r"ROMANA_([^_]+)_(.+)", name)
    if match is None or _SERVICE_LINK.fullmatch(name):
        return None
    section = match[1].lower()
    if section not in sections and not difflib.get_close_matches(section, sections, n=1, cutoff=SECTION_LIKENESS):
        return None
    known = {f"ROMANA_{section}_{key}".upper() for section, keys in sections.items() for key in keys}
    if name in known:
        return None
    (near,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
    return Fault(name, f"sets nothing; did you mean {near}?")
