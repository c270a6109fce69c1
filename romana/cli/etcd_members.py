"""What each member of etcd says of itself, for `romana status`: the rest of it is of whichever member answers first.

    etcd.endpoints ──→ one question to each, all at once, each with a deadline ──→ a row a member ──→ what is wrong with it

A member that is frozen takes connections and says nothing: it has its deadline, and then it is named.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from romana.cli.context import config
from romana.errors import RomanaError
from romana.store.credentials import Credentials
from romana.store.etcd import EtcdStore

__all__ = ["ANSWER_S", "Member", "ask_members", "member_fault", "member_row"]

ANSWER_S = 5.0
"""As long as any call to etcd may take; a member that is well answers within milliseconds."""


@dataclass(frozen=True, slots=True)
class Member:
    """One endpoint; all but the first and the last field are empty for one that does not answer."""

    endpoint: str
    reachable: bool
    member_id: str = ""
    """Hexadecimal, as etcdctl has it."""
    leader: bool = False
    has_leader: bool = False
    """Whether it knows of one: alone, without a quorum, it does not."""
    version: str = ""
    revision: int = 0
    db_size: int = 0
    """Bytes."""
    alarms: tuple[str, ...] = ()
    """Its own, in etcd's words, as NOSPACE."""
    error: str = ""


async def ask_members(deadline_s: float = ANSWER_S) -> list[Member]:
    """All configured members, in the order of `etcd.endpoints`; takes no longer than the deadline."""
    settings = config().etcd
    credentials = settings.credentials()
    return list(await asyncio.gather(*(_ask(target, settings.prefix, credentials, deadline_s) for target in settings.endpoints)))


async def _ask(target: str, prefix: str, credentials: Credentials | None, deadline_s: float) -> Member:
    store = EtcdStore([target], prefix, timeout_s=deadline_s, credentials=credentials)
    try:
        async with asyncio.timeout(deadline_s):
            state = await store.status()
    except TimeoutError:
        return Member(target, reachable=False, error=f"no answer within {deadline_s:g} s: it is frozen, or cut off")
    except RomanaError as err:
        return Member(target, reachable=False, error=str(err))
    finally:
        await store.close()
    return Member(
        target,
        reachable=True,
        member_id=f"{state.member_id:x}",
        leader=state.leader == state.member_id,
        has_leader=state.leader != 0,
        version=state.version,
        revision=state.revision,
        db_size=state.db_size,
        alarms=alarms_of(state.problems, state.member_id),
    )


def alarms_of(problems: Sequence[str], member_id: int) -> tuple[str, ...]:
    """A member's own alarms: each tells of all members', as `memberID:1234 alarm:NOSPACE ` (etcd v3.4, api/v3rpc, Status)."""
    found = []
    for problem in problems:
        fields = dict(word.partition(":")[::2] for word in problem.split() if ":" in word)
        if fields.get("memberID", str(member_id)) == str(member_id) and "alarm" in fields:
            found.append(fields["alarm"])
    return tuple(found)


def member_fault(member: Member) -> tuple[str, str] | None:
    """What is wrong with it and the next step; None when it is well."""
    if not member.reachable:
        return member.error, "start that member, or thaw it; a loss for good: etcdctl member remove, member add"
    if member.alarms:
        return f"alarm {', '.join(member.alarms)}", 'docs/operations.md, "What messages mean"'
    if not member.has_leader:
        return "knows of no leader: fewer than half of the members are in its reach", "start the others, or mend the network"
    return None


def member_row(member: Member) -> tuple[object, ...]:
    """Endpoint, state, version, revision, size and alarms, for people."""
    if not member.reachable:
        return member.endpoint, "NOT REACHABLE", "", "", "", member.error
    size = f"{member.db_size / 2**20:.1f} MiB"
    state = "leader" if member.leader else "follower" if member.has_leader else "NO LEADER"
    return member.endpoint, state, member.version, member.revision, size, " ".join(member.alarms) or "none"
