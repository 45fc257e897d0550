"""Splits are by workload, by family, and stay as they are."""

from __future__ import annotations

import pytest

from foretune import DataError, OptionError
from foretune.datasets.records.split import Split, make_split

FAMILIES = {f"{family}{i}": family for family, count in (("dense", 20), ("pool", 5), ("rare", 2)) for i in range(count)}


def test_each_family_is_in_each_part():
    split = make_split(FAMILIES, validation=0.1, test=0.2)
    assert split.train | split.validation | split.test == set(FAMILIES)
    assert sum(w.startswith("dense") for w in split.test) == 4
    assert (
        sum(w.startswith("pool") for w in split.test) == 1 and sum(w.startswith("pool") for w in split.validation) == 1
    )
    assert {"rare0", "rare1"} <= split.train


def test_the_order_of_the_data_does_not_matter():
    assert make_split(FAMILIES) == make_split(dict(reversed(FAMILIES.items())))
    assert make_split(FAMILIES) != make_split(FAMILIES, seed=1)


def test_new_workloads_leave_old_ones_where_they_are():
    old = make_split(FAMILIES)
    new = make_split({**FAMILIES, **{f"dense{i}": "dense" for i in range(20, 40)}}, kept=old)
    assert old.train <= new.train and old.validation <= new.validation and old.test <= new.test
    assert sum(w.startswith("dense") for w in new.test) == 8


def test_save_and_load(tmp_path):
    assert Split.load(tmp_path) is None
    split = make_split(FAMILIES)
    split.save(tmp_path)
    assert Split.load(tmp_path) == split


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"train": 1, "validation": [], "test": []}', '{"train": ["a"], "validation": ["a"], "test": []}'],
)
def test_damaged_files(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError, match=r"split\.json is damaged"):
        Split.load(tmp_path)


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.0)])
def test_bad_shares(validation, test):
    with pytest.raises(OptionError, match=r"validation \+ test < 1"):
        make_split(FAMILIES, validation, test)


def test_splits_of_two_data_sets_together():
    one, other = (
        Split(frozenset("a"), frozenset("b"), frozenset("c")),
        Split(frozenset("ad"), frozenset(), frozenset("ce")),
    )
    assert one | other == Split(frozenset("ad"), frozenset("b"), frozenset("ce"))
    with pytest.raises(DataError, match="two parts"):
        one | Split(frozenset("b"), frozenset(), frozenset())
