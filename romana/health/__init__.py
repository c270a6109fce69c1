"""What a daemon tells of itself over HTTP: `/livez`, `/readyz`, `/metrics` (docs/metrics.md, docs/adr/0013).

Conditions (what must be so) ──→ readyz ──┐
Counters, state ──→ families ──→ metrics ─┴─→ HealthServer (asyncio, GET and HEAD only) ──→ kubelet, Prometheus, curl
"""
