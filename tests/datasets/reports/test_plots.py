"""Pictures, pages and cards: made for every kind of data set, and safe with any text in it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from foretune.datasets.records import schema
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports import card
from foretune.datasets.reports.card import data_card
from foretune.datasets.reports.page import html_page
from foretune.datasets.reports.plots import overview_png, plots
from foretune.datasets.reports.progress import read_progress
from foretune.datasets.reports.summary import summarize
from tests.datasets.small_data import DENSE, measured, write_collected, write_imported


def write_empty(folder):
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([DENSE])
    return folder


def write_failures(folder):
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([DENSE])
        store.append([measured(DENSE, 1, error="x")])
    return folder


KINDS = [write_collected, write_imported, write_empty, write_failures]


def read(folder):
    store = RecordStore(folder)
    summary = summarize(store)
    return summary, plots(summary, read_progress(store))


@pytest.mark.parametrize("write", KINDS)
def test_pictures(tmp_path, write):
    _, drawn = read(write(tmp_path))
    assert [plot.name for plot in drawn] == ["progress", "families", "spread", "noise", "statuses"]
    assert all(plot.png().startswith(b"\x89PNG") for plot in drawn)
    assert overview_png(drawn, "$title_{").startswith(b"\x89PNG")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("write", KINDS)
def test_the_page_is_self_contained_and_escaped(tmp_path, write):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    page = Page(html_page(*read(write(folder))))
    assert page.tags <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "div",
    }
    assert len(page.links) == 5 and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "url(" not in page.text and "@import" not in page.text
    assert write is not write_collected or "$pool_{x|y" in page.text


@pytest.mark.parametrize("write", KINDS)
def test_the_card(tmp_path, write):
    summary, _ = read(write(tmp_path))
    text = data_card(summary)
    assert all(f"`{name}`" in text for name in [*schema.RECORDS.names, *schema.WORKLOADS.names])
    assert "Licence: the same as Foretune's." in text and summary.content_hash in text
    assert all(len(set(map(_num_cells, block))) == 1 for block in _tables(text)), (
        "every row of a table has as many cells as its header"
    )
    assert "\x1b" not in text


def test_the_card_states_the_figures(tmp_path):
    write_collected(tmp_path)
    Split(frozenset({"d0d0", "d0e1"}), frozenset(), frozenset({"a1a1"})).save(tmp_path)
    text = data_card(read(tmp_path)[0])
    for line in (
        "8 measurements of how fast",
        "| ok | 6 | 75 % |",
        "| dense | 2 | 5 | 4 | 8x | 4x |",
        "| $pool\\_{x\\|y | 1 | 3 | 2 | 2.5x | 1x |",
        "| train | 2 | 5 |",
        "2 records failed",
        "1 of 3 tasks have no time of the untouched program",
        "1 ok records have one run time only",
    ):
        assert line in text


def test_every_field_has_a_meaning():
    assert set(card._RECORD_FIELDS) == set(schema.RECORDS.names) and set(card._WORKLOAD_FIELDS) == set(
        schema.WORKLOADS.names
    )


def _tables(text: str) -> list[list[str]]:
    blocks = [[line for line in block.splitlines() if line.startswith("|")] for block in text.split("\n\n")]
    return [block for block in blocks if block]


def _num_cells(line: str) -> int:
    return line.replace("\\|", "").count("|")
