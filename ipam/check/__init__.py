"""Leak repair: what in the store belongs to nobody any more or disagrees with itself, and how it is mended without ever taking an
address from a pod that lives (docs/adr/0012).

    store, one revision ──→ Snapshot ─┐
    nodes' own word     ──→ Presence ─┴─→ check.findings (pure) ──→ sightings.confirmed (pure) ──→ Repairs: one transaction for
                                                                                                  each, guarded by its evidence

`romana ipam check` reads the store itself; ipamd's reconciler does the same by itself, and carries out every repair.
"""
