"""Benchmarks: `romana bench NAME`. Each measures, beside a peer or a limit in the same run, and gives a `Report`.

    measure (acting, one module a benchmark) ──→ Report (pure) ──→ table | JSON | picture

A benchmark never judges a time: it says what was found, on which machine, and the ratio to what stands beside it. Samples of ours
and of the peer are taken in turns, so that noise of the machine meets both.
"""
