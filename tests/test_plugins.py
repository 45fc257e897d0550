"""Plug-ins of other packages, and the contracts that they run: an example package with a cost model, a search
strategy and a domain.
"""

from __future__ import annotations

import json
import math
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foretune.cli.app import app
from foretune.costmodel import CostModel, cost_model_names, load_cost_model, make_cost_model
from foretune.errors import OptionError, UnsupportedError
from foretune.passes.llvm.tuning.search import STRATEGIES, SearchStrategy
from foretune.passes.llvm.tuning.strategies import StrategyConfig
from foretune.support import plugins
from foretune.support.plugins import COST_MODELS, SEARCH_STRATEGIES, load_plugin, plugin_names
from foretune.testing.cost_models import CostModelContract, candidates_of, measured
from foretune.testing.domains import DomainContract
from foretune.testing.search_strategies import SearchStrategyContract
from foretune.testing.synthetic import TASK
from foretune.tuning.domains import domain_names, find_domain, tune_program

EXAMPLE = Path(__file__).parent / "example_plugin"
sys.path.append(str(EXAMPLE))  # as if it were installed

from foretune_example.annealing import Annealing  # noqa: E402
from foretune_example.deflate import DeflateDomain, Settings  # noqa: E402
from foretune_example.neighbours import NeighboursModel  # noqa: E402

NOISE = np.random.default_rng(0).integers(16, size=20_000, dtype=np.uint8).tobytes()


class TestNeighbours(CostModelContract):
    def make(self, seed: int = 0) -> CostModel:
        return NeighboursModel(seed)


class TestAnnealing(SearchStrategyContract):
    def make(self, seed: int = 0) -> SearchStrategy:
        return Annealing(seed)


class TestDeflate(DomainContract):
    def make(self) -> DeflateDomain:
        return DeflateDomain(NOISE)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
class TestOwnStrategies(SearchStrategyContract):
    @pytest.fixture(autouse=True)
    def _class(self, strategy):
        self.strategy = strategy

    def make(self, seed: int = 0) -> SearchStrategy:
        return self.strategy(seed)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example, as an installer would leave it; what comes is the file of its entry points."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    folder = tmp_path / f"foretune_example-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder / "entry_points.txt"


def test_without_plugins():
    assert plugin_names(COST_MODELS) == () and "neighbours" not in cost_model_names()
    with pytest.raises(OptionError, match=r"unknown cost model 'neighbours'; known are latent"):
        make_cost_model("neighbours")


def test_a_cost_model_is_found_by_name(installed, tmp_path):
    assert cost_model_names()[-1] == "neighbours"
    model = make_cost_model("neighbours")
    model.fit(measured(20, seed=0))
    model.save(tmp_path / "model.json")
    points = candidates_of(measured(5, seed=1))
    assert (
        load_cost_model("neighbours", tmp_path / "model.json").predict(TASK, points).tolist()
        == model.predict(TASK, points).tolist()
    )


def test_a_strategy_is_found_by_name(installed):
    assert plugin_names(SEARCH_STRATEGIES, "llvm.") == ("annealing",)
    assert StrategyConfig("annealing").search == "annealing"
    with pytest.raises(OptionError, match=r"one of \[.*'annealing'.*\], but got 'anealing'"):
        StrategyConfig("anealing")


def test_a_domain_is_found_by_name(installed, tmp_path):
    (tmp_path / "noise").write_bytes(NOISE)
    assert domain_names() == ("deflate",) and find_domain("deflate") is DeflateDomain
    result = tune_program("deflate", str(tmp_path / "noise"), "greedy")
    assert result.gain > 1 and result.best != Settings() and result.interval[0] > 1
    for name, search, reason in (
        ("inflate", "greedy", r"no installed package has a plug-in 'inflate' of foretune.domains"),
        ("deflate", "luck", r"search must be one of \['genetic', 'greedy', 'random'\], but got 'luck'"),
    ):
        with pytest.raises(OptionError, match=reason):
            tune_program(name, str(tmp_path / "noise"), search)


def test_a_domain_is_tuned_by_the_command_line(installed, tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["domain", *map(str, words)], catch_exceptions=False)

    (tmp_path / "noise").write_bytes(NOISE)
    assert json.loads(run("list", "--json").stdout)["domains"][0]["domain"] == "deflate"
    assert "genetic" in run("list").stdout
    words = ("tune", "deflate", tmp_path / "noise", "--budget", 24, "--store", tmp_path / "store")
    document = json.loads(run(*words, "--out", tmp_path / "result.json", "--json").stdout)
    assert document == json.loads((tmp_path / "result.json").read_text())
    assert document["gain"] > 1 and document["num_trials"] <= 24 and "level=" in document["best"]
    again = run(*words)
    assert again.exit_code == 0 and document["best"] in again.stdout


def test_without_domains_of_others():
    assert "no installed package has a domain" in CliRunner().invoke(app, ["domain", "list"]).stdout


def test_a_broken_plugin_is_told(installed):
    installed.write_text(
        installed.read_text().replace(
            "[foretune.cost_models]", "[foretune.cost_models]\ngone = no_such_package:Model\nwrong = pathlib:Path"
        )
    )
    with pytest.raises(
        UnsupportedError,
        match=r"the plug-in 'gone' .* cannot be imported from no_such_package:Model: .*; mend or remove its package",
    ):
        make_cost_model("gone")
    with pytest.raises(
        OptionError, match=r"the plug-in 'wrong' .* must be a subclass of foretune.costmodel.base.CostModel"
    ):
        make_cost_model("wrong")


def test_two_packages_with_one_name(monkeypatch):
    both = [EntryPoint("same", f"{package}:Model", COST_MODELS) for package in ("one", "other")]
    monkeypatch.setattr(plugins, "entry_points", lambda group, name=None: both)
    with pytest.raises(
        OptionError,
        match=r"several packages have a plug-in 'same' of foretune.cost_models: \['one:Model', 'other:Model'\]",
    ):
        load_plugin(COST_MODELS, "same", CostModel)


def test_annealing_finds_what_is_better():
    strategy = Annealing(0)

    def cost(sequence):
        return 1.0 / (1.0 + 0.2 * sum("threshold" in flag.name for flag in sequence.flags))

    for _ in range(30):
        strategy.observe([(sequence, cost(sequence)) for sequence in strategy.suggest(4)])
    assert min(c for c in strategy.costs.values() if math.isfinite(c)) < 0.85
