"""`romana ipam who IP --at TIME`: who held an address then, from the store alone; `ipam.holdings` decides."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from ipam.holders import Holders, holders_at
from ipam.holdings import Holding
from romana.cli.context import Exit, run, store
from romana.cli.output import Output, print_json
from romana.errors import UsageError
from romana.keys import Address

__all__ = ["who_at"]


def who_at(ip: Address, at: str, output: Output) -> None:
    """Print it. Exits with 1 when nobody is known to have held it."""
    now_ms = time.time_ns() // 1_000_000
    at_ms = _milliseconds(at)
    if at_ms > now_ms:
        raise UsageError(f"--at {at}: that is to come; it is {_text(now_ms)} now")
    answer = run(_read(ip, at_ms, now_ms))
    if output is Output.JSON:
        print_json(_document(ip, at_ms, answer))
    else:
        typer.echo("\n".join(_lines(ip, at_ms, answer)))
    if not answer.holdings:
        raise typer.Exit(Exit.FOUND)


async def _read(ip: Address, at_ms: int, now_ms: int) -> Holders:
    async with store() as opened:
        return await holders_at(opened, ip, at_ms, now_ms)


def _milliseconds(text: str) -> int:
    try:
        read = datetime.fromisoformat(text)
        at = read if read.tzinfo else read.replace(tzinfo=UTC)
        at_ms = round(at.timestamp() * 1000)
    except (ValueError, OverflowError) as err:
        raise UsageError(f"--at {text!r} is not a time, as 2026-11-20T14:05 or 2026-11-20T14:05:30+01:00: {err}") from err
    if at_ms < 0:
        raise UsageError(f"--at {text}: before 1970")
    return at_ms


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_known(at_ms: int, answer: Holders) -> bool:
    return bool(answer.holdings) or at_ms >= answer.kept_from_ms


def _document(ip: Address, at_ms: int, answer: Holders) -> dict[str, Any]:
    state = "held" if answer.holdings else "not_held" if _is_known(at_ms, answer) else "unknown"
    times = {"at": _text(at_ms), "kept_from": _text(max(answer.kept_from_ms, 0))}
    return {"ip": str(ip), **times, "state": state, "holders": [_holder(one) for one in answer.holdings]}


def _holder(holding: Holding) -> dict[str, Any]:
    return {
        "network": holding.network,
        "attachment": asdict(holding.attachment) if holding.attachment else None,
        "pod": asdict(holding.pod) if holding.pod else None,
        "since": _text(holding.since_ms),
        "until": None if holding.until_ms is None else _text(holding.until_ms),
    }


def _lines(ip: Address, at_ms: int, answer: Holders) -> list[str]:
    at = _text(at_ms)
    if not _is_known(at_ms, answer):
        return [f"{ip} at {at}: not known; the journal keeps what ended at {_text(answer.kept_from_ms)} or later"]
    if not answer.holdings:
        return [f"{ip} at {at}: nobody held it"]
    several = f" by {len(answer.holdings)}, as the records overlap" if len(answer.holdings) > 1 else ""
    return [f"{ip} at {at} was held{several}", *(line for one in answer.holdings for line in _holding_lines(one))]


def _holding_lines(one: Holding) -> list[str]:
    until = "held still" if one.until_ms is None else _text(one.until_ms)
    return [
        f"  network     {one.network}",
        f"  attachment  {one.attachment or 'not known'}",
        f"  pod         {one.pod or 'not known'}",
        f"  since       {_text(one.since_ms)}",
        f"  until       {until}",
    ]
