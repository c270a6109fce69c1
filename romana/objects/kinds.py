"""The kinds that we take, with every name that people give them. Pure."""

from dataclasses import dataclass

__all__ = ["KINDS", "NAMESPACE", "NETWORK_POLICY", "POD", "Kind", "kind_named", "kind_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    name: str
    api_versions: tuple[str, ...]
    """The first one is the one we keep and give out."""
    plural: str
    group: str = ""
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """`networkpolicies.networking.k8s.io`, as the API's faults name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """`networkpolicy.networking.k8s.io`, as kubectl prints it."""
        return f"{self.name.lower()}.{self.group}" if self.group else self.name.lower()

    @property
    def names(self) -> frozenset[str]:
        """What a command line may call it."""
        return frozenset({self.name.lower(), self.plural, self.singular, self.resource, *self.short_names})


NAMESPACE = Kind("Namespace", ("v1",), "namespaces", short_names=("ns",), namespaced=False)
POD = Kind("Pod", ("v1",), "pods", short_names=("po",))
NETWORK_POLICY = Kind(
    "NetworkPolicy", ("networking.k8s.io/v1", "extensions/v1beta1"), "networkpolicies", "networking.k8s.io", ("netpol",)
)
KINDS = (NAMESPACE, POD, NETWORK_POLICY)


def kind_named(name: str) -> Kind | None:
    """The kind that a person calls so."""
    return next((kind for kind in KINDS if name.lower() in kind.names), None)


def kind_of(api_version: object, name: object) -> Kind | None:
    """The kind of a document's `apiVersion` and `kind`."""
    return next((kind for kind in KINDS if kind.name == name and api_version in kind.api_versions), None)
