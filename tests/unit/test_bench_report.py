"""What a benchmark's report says of its samples."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana.bench import machine
from romana.bench.plot import svg
from romana.bench.report import Report, Series, percentile
from romana.errors import InvalidInput

PEER = Series("ptp", "ms", (40.0, 50.0, 60.0))
OURS = Series("ours <&>", "ms", (10.0, 30.0, 20.0), peer="ptp")


def report(*series: Series) -> Report:
    return Report("cni", "2026-11-25T10:00:00+00:00", {"processors": 2}, series, notes=("busy",))


def test_a_series_is_compared_with_its_peer_by_medians() -> None:
    ours = report(PEER, OURS).as_dict()["series"][1]
    assert (ours["median"], ours["p99"], ours["least"], ours["most"], ours["samples"]) == (20, 30, 10, 30, 3)
    assert (ours["peer"], ours["ratio"]) == ("ptp", 0.4)


def test_a_limit_has_no_ratio_and_neither_has_what_is_compared_with_nothing_measured() -> None:
    assert report(PEER).as_dict()["series"][0]["ratio"] is None
    assert report(Series("zero", "1/s", (0.0,)), Series("x", "1/s", (1.0,), peer="zero")).as_dict()["series"][1]["ratio"] is None


def test_the_table_has_a_cell_for_every_column() -> None:
    assert [len(row) for row in report(PEER, OURS).rows()] == [len(Report.COLUMNS)] * 2


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ((OURS,), "peers that are no series: ..ptp"),
        ((PEER, PEER), "named twice: ..ptp"),
    ],
)
def test_a_report_that_cannot_be_read_is_refused(series: tuple[Series, ...], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        report(*series)


@pytest.mark.parametrize(("unit", "samples"), [("ms", ()), ("parsec", (1.0,))])
def test_a_series_without_samples_or_of_an_unknown_unit_is_refused(unit: str, samples: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="series 'x'"):
        Series("x", unit, samples)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([1, 50, 90, 99, 100]))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(samples: list[float], percent: int) -> None:
    found = percentile(sorted(samples), percent)
    assert found in samples
    assert sum(sample <= found for sample in samples) * 100 >= percent * len(samples)
    assert sum(sample < found for sample in samples) * 100 < percent * len(samples)


def test_the_picture_is_xml_with_a_bar_for_each_ratio() -> None:
    tree = ET.fromstring(svg(report(PEER, OURS)))  # noqa: S314 - our own output
    bars = [element for element in tree.iter() if element.tag.endswith("rect") and element.get("x")]
    assert len(bars) == 1
    assert "ours <&> / ptp" in [element.text for element in tree.iter()]
    assert "no series has a peer" in svg(report(PEER))


def test_the_machine_is_described_without_naming_it() -> None:
    found = machine.describe()
    assert found["processors"]
    assert set(found) == {"processors", "processor", "memory_mib", "kernel", "distribution", "python", "load_1min"}
