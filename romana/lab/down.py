"""Takes a lab down: processes, namespaces, files; safe to repeat, and after a lab that was killed half-way."""

from romana.lab import namespaces, pods, processes, record

__all__ = ["take_down"]


def take_down(name: str) -> bool:
    """Remove all of a lab; False when there was none."""
    # Whoever restarts goes first, etcd last: daemons that still run never see their store vanish.
    processes.stop_keepers(name)
    lab = record.find(name)
    if lab is None:
        processes.stop_marked(name)
        record.forget(name)
        return False
    etcd = [member.id for member in lab.members]
    daemons = [spec.id for spec in lab.processes() if spec.id not in etcd]
    for ids in (daemons, etcd):
        processes.stop_all(lab, ids)
    processes.stop_marked(name)  # started by a supervisor that was killed before it wrote that down
    namespaces.remove([pod.netns_name for pod in pods.records(lab)])
    namespaces.remove(lab.fixed_netns())
    record.forget(name)
    return True
