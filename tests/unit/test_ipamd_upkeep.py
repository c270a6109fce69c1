"""Which nodes ipamd looks after in the background."""

from ipam.state import State
from romana import keys
from romana.store.api import KeyValue
from romana.v1 import store_pb2
from tests.ipamd import Clock


def _node_key(labels: dict[str, str], revision: int, name: str = "n1", group: str = "", uid: str = "") -> KeyValue:
    node = store_pb2.Node(uid=uid or f"u-{name}", labels=labels)
    if group:
        node.placements.add(network="pods", group_path=group, group_name="rack", group_cidr="10.40.0.0/28")
    return KeyValue(keys.NODES + name, node.SerializeToString(), 1, revision, version=1)


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


def test_node_that_waits_for_a_block_is_due_when_one_that_the_group_kept_a_block_for_goes() -> None:
    state = State(Clock(), lag_s=lambda: 0.0)
    state.nodes.put(_node_key({}, 1, "n1", "pods/0"))
    state.nodes.put(_node_key({}, 2, "n2", "pods/0"))
    state.nodes.put(_node_key({}, 3, "n3", "pods/1"))
    for name, looked_at in state.due().items():
        state.settle(name, looked_at)
    state.wait_for_block("pods", "pods/0", "n1")
    state.nodes.remove(keys.NODES + "n3", 4)
    assert list(state.due()) == ["n3"]
    state.nodes.remove(keys.NODES + "n2", 5)
    assert sorted(state.due()) == ["n1", "n2", "n3"]


def test_uid_that_two_nodes_have_is_known_until_both_are_gone() -> None:
    """Else the blocks of the one that is left would pass for a removed node's."""
    state = State(Clock(), lag_s=lambda: 0.0)
    state.nodes.put(_node_key({}, 1, "n1", uid="same"))
    state.nodes.put(_node_key({}, 2, "n2", uid="same"))
    state.nodes.remove(keys.NODES + "n2", 3)
    found = state.node_of("same")
    assert found is not None
    assert found.value.name == "n1"
    state.nodes.remove(keys.NODES + "n1", 4)
    assert state.node_of("same") is None
