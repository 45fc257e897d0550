"""Which graphs a process remembers."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from foretune.compiler.pytorch import graph_report
from foretune.compiler.pytorch.explain import explain
from foretune.compiler.pytorch.graph_report import (
    CompileReport,
    compile_reports,
    compiled_graphs,
    forget_graph,
    note_graph,
)


@pytest.fixture(autouse=True)
def no_graphs(monkeypatch):
    monkeypatch.setattr(graph_report, "_graphs", [])


def test_models_that_are_gone_are_forgotten():
    kept = nn.Linear(2, 2)
    note_graph(CompileReport(num_tasks=1), kept.parameters())
    for _ in range(50):
        note_graph(CompileReport(), nn.Linear(2, 2).parameters())
    gc.collect()
    assert [graph.report.num_tasks for graph in compiled_graphs()] == [1] and explain(kept).graphs == tuple(
        compiled_graphs()
    )
    note_graph(CompileReport(), nn.Linear(2, 2).parameters())
    assert len(graph_report._graphs) <= 2


def test_of_functions_the_newest_are_kept():
    model = nn.Linear(2, 2)
    note_graph(CompileReport(num_tasks=1000), model.parameters())
    for i in range(200):
        note_graph(CompileReport(num_tasks=i), [])
    found = [graph.report.num_tasks for graph in explain(torch.relu).graphs]
    assert found == list(range(200 - graph_report._MOST_WITHOUT_WEIGHTS, 200))
    assert explain(model).graphs[0].report.num_tasks == 1000


def test_a_compilation_that_is_begun_anew_is_told_once():
    first, second = CompileReport(), CompileReport()
    note_graph(first, [])
    forget_graph(first)
    note_graph(second, [])
    assert [graph.report is second for graph in compiled_graphs()] == [True]
    assert compile_reports()[-1] is second and not any(report is first for report in compile_reports())
