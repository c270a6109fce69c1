"""Chaos: daemons and etcd members of a lab die, hang and are restarted while pods come and go and connections run.

    schedule (pure) ──→ faults ──→ daemons, members          round after round, and between two rounds a quiet point:
    churn ──→ CNI ADD, DEL                                    nobody is hurt, and etcd, kernels and connections must agree
    traffic, policy ──→ long-lived pods                       checks (store, kernel) ──→ findings

Something found is told with its evidence, and does not end the run.
"""
