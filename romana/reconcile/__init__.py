"""The one loop of every daemon (`loop`), and the receipt that says what its syncs have put into the kernel (`receipt`)."""

from romana.reconcile.loop import Pace, Source, Sync, once, run
from romana.reconcile.outcome import Outcome
from romana.reconcile.receipt import ReceiptWriter, Report

__all__ = ["Outcome", "Pace", "ReceiptWriter", "Report", "Source", "Sync", "once", "run"]
