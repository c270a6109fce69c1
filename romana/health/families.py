"""What the core counts, as families of the Prometheus exposition format: names, units and help stand here and nowhere deeper.

A source is asked at each scrape and yields families. One with very many samples yields several of the same name, some hundred
samples each: the loop does other work between them (`romana.health.exposition`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from romana.counting import Counter, Distribution, Labels, buckets

__all__ = ["Source", "counter", "gauge", "gauges", "histogram"]

Source = Callable[[], Iterable[Metric | None]]
"""Gives families as they are now; None where it has more work to do and others should have their turn. What it reads belongs to
the loop."""

PART = 500
"""Samples of one piece: about a millisecond of work."""


def counter(name: str, words: str, labels: Sequence[str], counted: Counter) -> CounterMetricFamily:
    """A counter; `name` ends with `_total`."""
    family = CounterMetricFamily(name.removesuffix("_total"), words, labels=labels)
    for values, count in sorted(counted.values.items()):
        family.add_metric(values, count)
    return family


def histogram(name: str, words: str, labels: Sequence[str], seen: Distribution) -> HistogramMetricFamily:
    """A histogram."""
    family = HistogramMetricFamily(name, words, labels=labels)
    for values, spread in sorted(seen.spreads.items()):
        family.add_metric(values, buckets(spread, seen.bounds), spread.sum)
    return family


def gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return GaugeMetricFamily(name, words, value=value)


def gauges(
    name: str, words: str, labels: Sequence[str], values: Mapping[Labels, float] | Iterable[tuple[Labels, float]]
) -> Iterator[GaugeMetricFamily]:
    """A gauge with labels, in parts; an iterable is asked for a part at a time."""
    items = iter(sorted(values.items()) if isinstance(values, Mapping) else values)
    part = list(islice(items, PART))
    while True:
        family = GaugeMetricFamily(name, words, labels=labels)
        for found, value in part:
            family.add_metric(found, value)
        yield family
        part = list(islice(items, PART))
        if not part:
            return
