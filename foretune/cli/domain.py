"""`foretune domain`: tune programs of the domains that other packages bring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from foretune.support.console import Json, format_secs, print_json, print_table, printable
from foretune.support.files import check_writable, write_text_atomically
from foretune.support.progress import progress_bar
from foretune.tuning.rungs import told as told_rungs

app = typer.Typer(no_args_is_help=True, help="Tune programs of domains that other packages bring.")


@app.command(name="list")
def list_domains(as_json: Json = False) -> None:
    """List the domains that installed packages have, with their searches."""
    from foretune.tuning.domains import domain_names, search_names

    rows = [{"domain": name, "searches": list(search_names(name))} for name in domain_names()]
    if as_json:
        print_json({"domains": rows})
    elif rows:
        print_table(("domain", "searches"), [(r["domain"], ", ".join(r["searches"])) for r in rows], left=("searches",))
    else:
        print("no installed package has a domain of its own")


@app.command()
def tune(
    domain: Annotated[str, typer.Argument(help="Name of the domain, as `foretune domain list` has it.")],
    program: Annotated[str, typer.Argument(help="What to tune, as the domain names it.")],
    budget: Annotated[int, typer.Option(help="Measurements, those of the finalists among them.")] = 50,
    search: Annotated[str, typer.Option(help="genetic, greedy, random, or a plug-in of the domain.")] = "genetic",
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    store: Annotated[
        Path | None, typer.Option(help="Folder of all records; a run that was stopped goes on from it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the result in JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Search for a candidate that beats the domain's baseline."""
    from foretune.tuning.domains import tune_program
    from foretune.tuning.loop import TuneConfig

    for path, is_folder in ((out, False), (store, True)):
        if path is not None:
            check_writable(path, is_folder)
    config = TuneConfig(budget, store=store)
    with progress_bar(printable(program), not as_json, transient=True) as show:
        result = tune_program(
            domain, program, search, seed, config, lambda r: show(len(r.trials), budget, f"{r.best_so_far()[-1]:.3g}x")
        )
    document = {"domain": domain, **result.to_json()}
    if out is not None:
        write_text_atomically(out, json.dumps(document, indent=1) + "\n")
    if as_json:
        print_json(document)
        return
    low, high = result.interval or (result.gain, result.gain)
    times = (format_secs(result.baseline_secs or None), format_secs(result.best_secs or None))
    row = (program, *times, f"{result.gain:.3g}", f"{low:.3g} to {high:.3g}", str(len(result.trials)))
    print_table(("program", "baseline", "tuned", "gain", "95 %", "trials"), [row])
    print(told_rungs(document["rungs"]))
    print(printable(str(result.best)) if result.gain > 1 else "nothing measured beats the baseline, which stays")
