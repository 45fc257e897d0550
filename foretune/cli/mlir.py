"""`foretune mlir`: MLIR programs, their transforms, and what they cost."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from foretune.cli.language import Llm, LlmKeyEnv, api_key, endpoint
from foretune.errors import DataError, OptionError
from foretune.support.console import Json, format_percent, format_secs, print_json, print_table, printable
from foretune.support.files import check_writable, write_text_atomically
from foretune.support.progress import progress_bar
from foretune.tuning.rungs import told as told_rungs

app = typer.Typer(
    no_args_is_help=True, help="Tune MLIR programs by transforms and passes, and prove it by measurement."
)

Source = Annotated[
    str,
    typer.Argument(
        help=(
            "A .mlir file; or a PyTorch model: MODULE:FUNCTION that returns it with its inputs, or an exported program"
            " (.pt2)."
        )
    ),
]
Entry = Annotated[str | None, typer.Option(help="Function to run; by default the only public one.")]
Size = Annotated[
    list[int], typer.Option(help="Extent for the next `?` in the types of the entry's arguments; may be repeated.")
]
Value = Annotated[
    list[int],
    typer.Option(
        help=(
            "Value of the next argument of the entry that is an integer or an index; may be repeated. By default"
            " derived from what loops access."
        )
    ),
]
BuildTimeout = Annotated[float, typer.Option(help="Seconds for one build, at most.")]
RunTimeout = Annotated[float, typer.Option(help="Seconds for one run of the program, at most.")]


@app.command()
def passes(
    word: Annotated[str, typer.Argument(help="Only actions with this word in their name or help.")] = "",
    as_json: Json = False,
) -> None:
    """List the actions: transforms and passes with their options."""
    from foretune.passes.mlir.grammar.actions import ACTIONS, TARGETS

    rows = [
        {
            "action": name,
            "help": kind.help,
            "on": kind.on,
            "options": {o: str(k) for o, k in dict(kind.options).items()},
            "needed": list(kind.needed),
        }
        for name, kind in ACTIONS.items()
        if word.lower() in f"{name} {kind.help}".lower()
    ]
    if as_json:
        print_json({"actions": rows, "targets": {name: list(kinds) for name, kinds in TARGETS.items()}})
        return
    shown = [
        (
            r["action"],
            r["on"],
            " ".join(f"{o}={k}" if o in r["needed"] else f"[{o}={k}]" for o, k in r["options"].items()),
            r["help"],
        )
        for r in rows
    ]
    print_table(("action", "works on", "options", "what it does"), shown, left=("works on", "options", "what it does"))


@app.command()
def tune(
    source: Source,
    budget: Annotated[int, typer.Option(help="Measurements, those of the finalists among them.")] = 64,
    search: Annotated[
        str, typer.Option(help="genetic, greedy or random; latent, where its weights are there.")
    ] = "genetic",
    entry: Entry = None,
    size: Size = [],  # noqa: B006 - typer copies it
    value: Value = [],  # noqa: B006 - typer copies it
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    llm: Llm = "none",
    llm_model: Annotated[str, typer.Option(help="The model's name at the endpoint.")] = "default",
    llm_key_env: LlmKeyEnv = "",
    llm_cache: Annotated[Path | None, typer.Option(help="Folder of recorded replies.")] = None,
    llm_calls: Annotated[int, typer.Option(help="Most calls of the language model.")] = 8,
    store: Annotated[
        Path | None, typer.Option(help="Folder of all records; a run that was stopped goes on from it.")
    ] = None,
    winners: Annotated[
        Path | None,
        typer.Option(help="Library of what was best for operations: the search begins with it, and adds its winner."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the result in JSON, which `replay` reads.")] = None,
    script: Annotated[Path | None, typer.Option(help="File for the winner as a transform module.")] = None,
    build_timeout: BuildTimeout = 30.0,
    run_timeout: RunTimeout = 60.0,
    as_json: Json = False,
) -> None:
    """Search for a schedule that beats the default lowering."""
    if out is not None:
        check_writable(out)
    if store is not None:
        check_writable(store, is_folder=True)
    from foretune.passes.language.llm_client import LlmConfig
    from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
    from foretune.passes.mlir.tuning import measure, tuning
    from foretune.passes.mlir.tuning.strategies import MlirStrategyConfig
    from foretune.passes.mlir.tuning.winners import Winners

    if winners is not None:
        check_writable(winners)
    library = Winners.load(winners) if winners is not None else None
    config = tuning.MlirTuneConfig(budget, store=store)
    with endpoint(llm) as url, MlirSession(SessionSettings(build_timeout, run_timeout)) as session:
        asked = LlmConfig(url, llm_model, llm_calls, cache=llm_cache, api_key=api_key(llm_key_env)) if url else None
        strategy = MlirStrategyConfig(search, seed, asked)
        program = _program(session, source, entry, size, value)
        with progress_bar(printable(program.name), not as_json, transient=True) as show:
            result = tuning.tune(
                program, measure.MlirMeasurer(session), strategy.make, config,
                lambda r: show(len(r.trials), budget, f"{r.best_so_far()[-1]:.3g}x"), library,
            )  # fmt: skip
    if library is not None and winners is not None:
        library.save(winners)
    document = {
        **result.to_json(),
        **strategy.report(result.strategy),
        "source": source,
        "sizes": size,
        "values": value,
        "timeouts": [build_timeout, run_timeout],
    }
    if out is not None:
        write_text_atomically(out, json.dumps(document, indent=1) + "\n")
    if script is not None and document["script"]:
        write_text_atomically(script, document["script"])
    if as_json:
        print_json(document)
    else:
        _print_result(document)


@app.command()
def replay(
    result: Annotated[Path, typer.Argument(help="What `foretune mlir tune --out` wrote.")],
    turns: Annotated[int, typer.Option(help="Runs of the winner and of the default lowering.")] = 9,
    as_json: Json = False,
) -> None:
    """Measure a stored winner again, beside the default lowering."""
    from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
    from foretune.passes.mlir.grammar.actions import Schedule
    from foretune.passes.mlir.tuning import measure, tuning

    if turns < 3:
        raise OptionError(f"`turns >= 3` must hold, but got turns={turns}")
    stored = _stored(result)
    schedule = Schedule.from_json(stored["schedule"])
    build_secs, run_secs = (float(t) for t in stored["timeouts"])
    with MlirSession(SessionSettings(build_secs, run_secs)) as session:
        program = _program(session, stored["source"], stored["entry"], stored["sizes"], stored.get("values", []))
        if program.hash != stored["hash"]:
            raise DataError(f"{result}: the program {stored['source']} has changed since it was tuned; tune it again")
        measurer = measure.MlirMeasurer(session)
        [again] = tuning.confirm(measurer.prepare(program), [schedule], measurer, turns)
    document = {"program": stored["program"], "stored_gain": stored["gain"], **again}
    if as_json:
        print_json(document)
        return
    row = (
        document["program"],
        format_secs(again["default_secs"]),
        format_secs(again["best_secs"]),
        f"{again['gain']:.3g}",
        _interval(again["interval"]),
        f"{stored['gain']:.3g}",
        again["status"],
    )
    print_table(("program", "default", "tuned", "gain", "95 %", "stored gain", "status"), [row], left=("status",))


Cpu = Annotated[
    str, typer.Option(help="Processor: native, or a name that LLVM knows, such as haswell, znver5 or x86-64.")
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights of the cost model; by default those that ship with Foretune.")
]
Schedules = Annotated[
    str, typer.Option(help="Actions to apply first, separated by semicolons, as `foretune mlir passes` lists them.")
]


@app.command()
def predict(
    source: Source,
    cpu: Cpu = "native",
    schedule: Schedules = "",
    unapplied: Annotated[
        bool, typer.Option("--unapplied", help="Roll the schedule out in latent space instead of applying it.")
    ] = False,
    size: Size = [],  # noqa: B006 - typer copies it
    value: Value = [],  # noqa: B006 - typer copies it
    entry: Annotated[
        str | None,
        typer.Option(help="Function whose run is counted; by default all public ones that no other function calls."),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help=(
                "Count by compiling; an error where the module cannot be compiled. Without a choice: count where it"
                " can be."
            ),
        ),
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Predict from the structure alone, in milliseconds.")] = False,
    deadline_ms: Annotated[float | None, typer.Option(help="Count if that takes no longer, predict otherwise.")] = None,
    run_ms: Annotated[
        float | None,
        typer.Option(
            help=(
                "Milliseconds of one core that the run may take in which blocks are counted; by default 20, with"
                " --exact 1000."
            )
        ),
    ] = None,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Tell what a module will cost: counted by compiling it, or predicted from its structure."""
    from foretune.passes.mlir.costs import predict as predicting
    from foretune.passes.mlir.costs.exact import ExactSession, ExactSettings
    from foretune.passes.mlir.costs.tiers import TierSettings, predict_costs
    from foretune.passes.mlir.grammar.actions import Schedule

    if sum((exact, fast, deadline_ms is not None)) > 1:
        raise OptionError("choose one of --exact, --fast and --deadline-ms")
    if unapplied and (exact or deadline_ms is not None):
        raise OptionError("--unapplied rolls a schedule out instead of applying it: there is nothing to count")
    settings = TierSettings(
        "exact" if exact else "fast" if fast else "auto", deadline_ms, ExactSettings(run_ms, entry, tuple(value))
    )
    target, model, actions = _target(cpu), _model(weights), Schedule.parse(schedule)
    with ExactSession() as session:
        text = _text(session, source, size)
        if unapplied:
            [prediction] = predicting.predict_schedules(session, text, [actions], target, model)
        else:
            prediction = predict_costs(session, text, target, actions, settings, model)
    if as_json:
        print_json({"source": source, "target": target.to_json(), **prediction.to_json()})
        return
    rows = [
        (
            name,
            _cost(name, prediction.costs[name]),
            prediction.sources[name],
            *(_cost(name, end) if prediction.spread[name] else "" for end in prediction.interval(name)),
        )
        for name in predicting.SHOWN
        if name in prediction.costs
    ]
    print_table(("cost", "value", "how", "5 %", "95 %"), rows, title=source, left=("how",))
    for note in prediction.notes:
        print(printable(f"- {note}"))


@app.command()
def explain(
    source: Source,
    cpu: Cpu = "native",
    schedule: Schedules = "",
    size: Size = [],  # noqa: B006 - typer copies it
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Predict which operations of a module cost what."""
    from foretune.passes.mlir.costs import predict as predicting
    from foretune.passes.mlir.environment.session import MlirSession
    from foretune.passes.mlir.grammar.actions import Schedule

    target, model = _target(cpu), _model(weights)
    with MlirSession() as session:
        found = predicting.explain(session, _text(session, source, size), target, Schedule.parse(schedule), model)
    if as_json:
        print_json({"source": source, "target": target.to_json(), "operations": [cost.to_json() for cost in found]})
        return
    rows = [
        (
            cost.operation,
            "x".join(f"{n:g}" for n in cost.loops) or "-",
            str(cost.line or "-"),
            *(format_percent(cost.shares[name]) for name in predicting.EXPLAINED),
            format_secs(cost.costs["secs"]),
        )
        for cost in found
    ]
    print_table(
        ("operations", "loops", "line", *predicting.EXPLAINED, "time"), rows, title=source, left=("operations", "loops")
    )


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Folder of the samples; made or continued.")],
    samples: Annotated[int, typer.Option(help="Labelled samples that the folder shall hold in the end.")],
    schedules: Annotated[int, typer.Option(help="Random schedules of each program, beside the plain lowering.")] = 2,
    seed: Annotated[int, typer.Option(help="First seed of the generated programs.")] = 0,
    families: Annotated[str, typer.Option(help="Families of programs, comma-separated, or 'all'.")] = "all",
    cpus: Annotated[
        str,
        typer.Option(
            help=(
                "Other processors, comma-separated, to one of which in turn each program is compiled, too; this machine"
                " must run their code."
            )
        ),
    ] = "haswell,x86-64",
    counts_only: Annotated[
        bool,
        typer.Option(
            "--counts-only",
            help="Time nothing, and compile each sample for one of `--cpus` in turn, whatever this machine is.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Label generated programs and random schedules of them on this machine; a run that was stopped goes on."""
    check_writable(out, is_folder=True)
    from foretune.passes.mlir.costs.collection import CollectConfig
    from foretune.passes.mlir.costs.collection import collect as run

    chosen: dict[str, Any] = {} if families == "all" else {"families": tuple(f.strip() for f in families.split(","))}
    config = CollectConfig(
        out,
        samples,
        schedules,
        seed,
        cpus=tuple(c.strip() for c in cpus.split(",") if c.strip()),
        counts_only=counts_only,
        **chosen,
    )
    with progress_bar("samples", not as_json) as show:
        counts = run(config, show)
    if as_json:
        print_json({"out": str(out), "statuses": counts})
    else:
        print(f"{out}: " + ", ".join(f"{number} {status}" for status, number in counts.items()))


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of samples, as `foretune mlir collect` makes it.")],
    out: Annotated[Path, typer.Option(help="File of the weights.")],
    epochs: Annotated[int, typer.Option(help="Passes over the data, at most.")] = 24,
    members: Annotated[int, typer.Option(help="Networks of the ensemble.")] = 2,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    rate: Annotated[float, typer.Option(help="Learning rate, at its peak.")] = 2e-3,
    seconds: Annotated[
        float, typer.Option(help="Training ends after the epoch in which so much time has passed.")
    ] = math.inf,
    start: Annotated[Path | None, typer.Option(help="Weights to go on from.")] = None,
    time_only: Annotated[
        bool, typer.Option("--time-only", help="Train the model of time from exact counts instead; seconds of work.")
    ] = False,
    correction_only: Annotated[
        bool,
        typer.Option(
            "--correction-only", help="Train what corrects the model on further samples instead; minutes of work."
        ),
    ] = False,
    domain: Annotated[Path | None, typer.Option(help="File that shall say how far the training data reaches.")] = None,
    as_json: Json = False,
) -> None:
    """Train the cost model on labelled samples and score it on programs that it has not seen."""
    check_writable(out)
    from foretune.costmodel.mlir.domain import MlirDomain
    from foretune.costmodel.mlir.training import MlirTrainConfig
    from foretune.passes.mlir.costs import observe, time_training, training
    from foretune.passes.mlir.graph.features import STATEMENT_FEATURES

    if domain is not None:
        observe.observe(data)
        MlirDomain.of([o.program for o in training.load_split(data).train], STATEMENT_FEATURES).save(domain)
    if time_only:
        timed = time_training.train(data)
        timed.model.save(out)
        if as_json:
            print_json({"weights": str(out), "training_hash": timed.model.training_hash, "test": timed.figures})
        else:
            print_table(
                ("figure", "value"),
                [(name, f"{value:.4g}") for name, value in timed.figures.items()],
                title=f"{out}: programs that were held out",
            )
        return
    if correction_only:
        observe.observe(data)
        model = _model(start)
        model.correction = training.train_correction(data, model)
        model.correction.save(out)
        figures = training.score_model(model, [o for o in training.load_split(data).test if o.stage == "given"])
        document = {"weights": str(out), "base": model.training_hash, "test": figures}
        print_json(document) if as_json else print(json.dumps(figures, indent=1))
        return
    config = MlirTrainConfig(epochs=epochs, members=members, seed=seed, learning_rate=rate)
    with progress_bar("graphs", not as_json) as show:
        observe.observe(data, show)
    trained = training.train(
        data,
        config,
        lambda f: None if as_json else print(f, file=sys.stderr),
        seconds,
        _model(start) if start is not None else None,
    )
    trained.model.save(out)
    if as_json:
        print_json({"weights": str(out), "training_hash": trained.model.training_hash, "test": trained.figures})
        return
    rows = [
        (stage, name, *(f"{figures[k]:.3g}" for k in ("rel_rmse", "median", "rmse_over_range", "spearman")))
        for stage, by in trained.figures.items()
        for name, figures in by.items()
        if isinstance(figures, dict) and "median" in figures
    ]
    print_table(
        ("stage", "cost", "relative RMSE", "median error", "RMSE / range", "Spearman"),
        rows,
        title=f"{out}: programs that were held out",
        left=("cost",),
    )


def _target(cpu: str) -> Any:
    from foretune.costmodel.mlir.target import similar_target

    return similar_target("" if cpu == "native" else cpu)


def _model(weights: Path | None) -> Any:
    from foretune.costmodel.mlir.model import MlirCostModel

    return MlirCostModel.load(weights) if weights is not None else MlirCostModel.bundled()


def _text(session: Any, source: str, sizes: list[int]) -> str:
    """The module's text, of a file or of PyTorch."""
    if ":" in source or source.endswith(".pt2"):
        return _program(session, source, None, sizes).text
    try:
        text = Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read: {error}") from error
    return session.specialise(text, None, sizes).text if sizes else text


def _cost(name: str, value: float) -> str:
    return format_secs(value) if name == "secs" else format_percent(value) if "share" in name else f"{value:,.0f}"


def _program(session: Any, source: str, entry: str | None, sizes: list[int], values: list[int] = []) -> Any:  # noqa: B006 - it is not changed
    """The program of a file or of PyTorch."""
    from foretune.passes.mlir.tuning.frontend import load_program

    if ":" not in source and not source.endswith(".pt2"):
        return load_program(session, Path(source), entry, sizes, values)
    from foretune.compiler.pytorch.artifact import read_program
    from foretune.passes.mlir.tuning.torch_frontend import from_exported

    if entry is not None or sizes or values:
        raise OptionError(
            "--entry, --size and --value are for .mlir files; a PyTorch model has one entry, and the extents of its"
            " inputs"
        )
    return from_exported(session, read_program(source), source)


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
        for name, kind in (
            ("schedule", list),
            ("source", str),
            ("entry", str),
            ("sizes", list),
            ("hash", str),
            ("program", str),
            ("timeouts", list),
            ("gain", (int, float)),
        ):
            if not isinstance(stored[name], kind):
                raise TypeError(f"{name} is {type(stored[name]).__name__}")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of `foretune mlir tune --out`: {type(error).__name__}: {error}") from error
    return stored


def _print_result(result: dict[str, Any]) -> None:
    statuses = ", ".join(f"{number} {status}" for status, number in result["statuses"].items())
    times = (format_secs(result["default_secs"] or None), format_secs(result["best_secs"] or None))
    row = (
        printable(result["program"]),
        *times,
        f"{result['gain']:.3g}",
        _interval(result["interval"]),
        str(result["num_trials"]),
        statuses,
    )
    print_table(
        ("program", "default", "tuned", "gain", "95 %", "trials", "how they ended"), [row], left=("how they ended",)
    )
    illegal = sum(result.get("illegal", {}).values())
    print(
        f"at most {result.get('num_answers', 0):,} schedules of this kind; {illegal} answers were illegal"
        + (f", most for: {printable(next(iter(result['illegal'])))}" if illegal else "")
    )
    print(told_rungs(result.get("rungs", {})))
    for why in result.get("banned", {}).values():
        print(printable(f"not tried again: {why}"))
    print(
        "; ".join(result["schedule"])
        if result["schedule"]
        else "nothing measured beats the default lowering, which stays"
    )


def _interval(interval: list[float]) -> str:
    return f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else "-"
