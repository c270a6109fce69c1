"""What the API asks of every object's metadata and of label selectors. Pure.

Source: k8s.io/apimachinery, pkg/api/validation/objectmeta.go and pkg/apis/meta/v1/validation/validation.go.
"""

from collections.abc import Callable, Mapping

from romana.errors import Fault
from romana.objects.naming import dns_label, label_key, label_value
from romana.objects.v1_types import MetadataV1, RequirementV1, SelectorV1
from romana.objects.words import each_invalid, forbidden, invalid, required, too_long

__all__ = ["label_faults", "metadata_faults", "selector_faults"]

ANNOTATIONS_MAX = 256 * 1024  # bytes of keys and values, objectmeta.go, TotalAnnotationSizeLimitB

_WITH_VALUES = {"In", "NotIn"}
_WITHOUT_VALUES = {"Exists", "DoesNotExist"}


def metadata_faults(metadata: MetadataV1, name_rules: Callable[[str], list[str]]) -> list[Fault]:
    """Name, namespace, labels and annotations; a name may be left to the server by `generateName`."""
    name, prefix, namespace = metadata.get("name", ""), metadata.get("generateName", ""), metadata.get("namespace", "")
    faults = each_invalid("metadata.generateName", prefix, name_rules(_without_dash(prefix))) if prefix else []
    if name:
        faults += each_invalid("metadata.name", name, name_rules(name))
    elif not prefix:
        faults.append(required("metadata.name", "name or generateName is required"))
    if namespace:
        faults += each_invalid("metadata.namespace", namespace, dns_label(namespace))
    faults += label_faults(metadata.get("labels", {}), "metadata.labels")
    return faults + _annotation_faults(metadata.get("annotations", {}))


def label_faults(labels: Mapping[str, str], path: str) -> list[Fault]:
    """Keys and values of labels; as in the API all of them at the path of the whole map."""
    faults = []
    for key, value in labels.items():
        faults += each_invalid(path, key, label_key(key))
        faults += each_invalid(path, value, label_value(value))
    return faults


def selector_faults(selector: SelectorV1, path: str) -> list[Fault]:
    """A label selector."""
    faults = label_faults(selector.get("matchLabels", {}), f"{path}.matchLabels")
    for index, requirement in enumerate(selector.get("matchExpressions", [])):
        faults += _requirement_faults(requirement, f"{path}.matchExpressions[{index}]")
    return faults


def _requirement_faults(requirement: RequirementV1, path: str) -> list[Fault]:
    operator, values = requirement["operator"], requirement.get("values", [])
    faults = []
    if operator in _WITH_VALUES and not values:
        faults.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in _WITHOUT_VALUES and values:
        faults.append(forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif operator not in _WITH_VALUES | _WITHOUT_VALUES:
        faults.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    faults += each_invalid(f"{path}.key", requirement["key"], label_key(requirement["key"]))
    for index, value in enumerate(values):
        faults += each_invalid(f"{path}.values[{index}]", value, label_value(value))
    return faults


def _annotation_faults(annotations: Mapping[str, str]) -> list[Fault]:
    faults = []
    for key in annotations:
        faults += each_invalid("metadata.annotations", key, label_key(key.lower()))
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_MAX:
        faults.append(too_long("metadata.annotations", ANNOTATIONS_MAX))
    return faults


def _without_dash(prefix: str) -> str:
    """A prefix may end in dashes, since more follows (generate_name.go, maskTrailingDash)."""
    return f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix
