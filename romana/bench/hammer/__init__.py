"""The hammer of address management: real ipamd on a real etcd of several members, everybody hurt, and nobody trusted.

    draws (pure) ──→ clients, admin ──gRPC──→ ipamd, ipamd, ipamd ──→ etcd members        blows (pure) ──→ faults ──→ all of them
                         │ what was answered                              │ one watch
                         ▼                                                ▼
                     ledger ──────── answers to compare ────────→ picture → rules ──→ Violation(revision, keys, invariant)

The checker knows etcd alone: it folds every revision into a picture and judges what that revision touches, and everything every
ten seconds and at the end, when the picture must also be what a listing says. The ledger knows the answers alone: what was
answered and not given back must be there. Numbers I1 to I14 are those of docs/hammer.md.

What is drawn repeats with the seed; the machine's timing, and so which client comes first, does not.
"""
