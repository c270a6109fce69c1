"""Which nodes ipamd looks after in the background."""

from ipam.state import State
from romana import keys
from romana.store.api import KeyValue
from romana.v1 import store_pb2
from tests.ipamd import Clock


def _node_key(labels: dict[str, str], revision: int) -> KeyValue:
    value = store_pb2.Node(uid="u1", labels=labels).SerializeToString()
    return KeyValue(keys.NODES + "n1", value, 1, revision, version=1)


def test_what_changes_for_a_node_while_it_is_looked_after_makes_it_due_again() -> None:
    """Else a node whose block a new topology gave back gets another only with its first pod."""
    state = State(Clock(), lag_s=lambda: 0.0)
    state.nodes.put(_node_key({}, 1))
    looked_at = state.due()["n1"]
    state.nodes.put(_node_key({"rack": "a"}, 2))
    state.settle("n1", looked_at)
    assert list(state.due()) == ["n1"]
    state.settle("n1", state.due()["n1"])
    assert not state.uneven
