"""The one loop of every daemon (`loop`), and the receipt that says what its syncs have put into the kernel (`receipt`)."""

from romana.reconcile.loop import Pace, Source, Sync, once, run
from romana.reconcile.receipt import ReceiptWriter, Report

__all__ = ["Pace", "ReceiptWriter", "Report", "Source", "Sync", "once", "run"]
