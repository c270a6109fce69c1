"""The error that a CNI answer is made of, and the codes that we give. Pure.

CNI spec 1.1, section 5 "Error", reserves 1 to 99; our own begin at 100 and are part of our contract.
"""

from cni.hints import hint
from romana.errors import Exhausted, InvalidInput, Refused, RomanaError

__all__ = [
    "CHECK_FOUND",
    "DECODING_FAILURE",
    "EXHAUSTED",
    "INCOMPATIBLE_VERSION",
    "INTERFACE_EXISTS",
    "INTERNAL",
    "INVALID_CONFIG",
    "INVALID_ENVIRONMENT",
    "INVALID_NETNS",
    "NOT_AVAILABLE",
    "PLUMBING_FAILED",
    "REFUSED",
    "TRY_AGAIN",
    "CniError",
    "from_ipam",
]

INCOMPATIBLE_VERSION = 1
INVALID_ENVIRONMENT = 4
DECODING_FAILURE = 6
INVALID_CONFIG = 7
INVALID_NETNS = 8  # types.ErrInvalidNetNS of the Go library
TRY_AGAIN = 11
NOT_AVAILABLE = 50  # of STATUS, CNI spec 1.1, section 4: ADD cannot be served
EXHAUSTED = 100
REFUSED = 101
CHECK_FOUND = 102
INTERFACE_EXISTS = 103
PLUMBING_FAILED = 104
INTERNAL = 999


class CniError(RomanaError):
    """A call that fails: the runtime sees `code` and `msg`, and `details` says what to do."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details


def from_ipam(err: RomanaError) -> CniError:
    """What to tell the runtime about an error of ipamd's."""
    if isinstance(err, Exhausted):
        return CniError(EXHAUSTED, str(err), hint(err))
    if isinstance(err, Refused):
        return CniError(REFUSED, str(err), hint(err))
    if isinstance(err, InvalidInput):
        return _invalid(err)
    return CniError(TRY_AGAIN, str(err), hint(err))


def _invalid(err: InvalidInput) -> CniError:
    """An input that ipamd refuses and we did not: the code and the name of where it came from."""
    origins = {"pod": "CNI_ARGS", "attachment.container_id": "CNI_CONTAINERID", "attachment.ifname": "CNI_IFNAME"}
    paths = [fault.path for fault in err.faults]
    named = [variable for origin, variable in origins.items() if any(f"{path}.".startswith(f"{origin}.") for path in paths)]
    if named:
        return CniError(INVALID_ENVIRONMENT, f"{', '.join(named)}: {err}", f"correct {', '.join(named)}")
    return CniError(INVALID_CONFIG, str(err), hint(err))
