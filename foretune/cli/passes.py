"""`foretune passes`: tune, explain and replay LLVM pass sequences."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from foretune.cli.language import Llm, LlmKeyEnv, api_key, endpoint
from foretune.cli.passes_programs import (
    Argument,
    Cflag,
    CheckArg,
    CheckDefine,
    CheckStdin,
    Cwd,
    Define,
    ExpectExit,
    File,
    Ignore,
    Include,
    KeepSeparate,
    Ldflag,
    Library,
    Main,
    Sources,
    Stdin,
    TimeFunction,
    Tolerance,
    program_arguments,
    stored_results,
)
from foretune.errors import DataError, ForetuneError, OptionError
from foretune.support.console import Json, format_secs, print_json, print_table, printable
from foretune.support.files import check_writable, sha256_of, write_text_atomically
from foretune.support.progress import progress_bar
from foretune.tuning.rungs import told as told_rungs

app = typer.Typer(no_args_is_help=True, help="Search LLVM pass sequences that beat -O3, and prove them by measurement.")

Emit = Annotated[
    list[str],
    typer.Option(
        "--emit",
        help="Write the winner as object, ll, script (of exact commands) or flags (for clang); may be repeated.",
    ),
]
Beside = Annotated[
    list[str],
    typer.Option(
        "--beside",
        help=(
            "Baseline to measure beside the winner: polly (-mllvm -polly) or ofast (-Ofast, which is relaxed and may"
            " print something else); may be repeated."
        ),
    ),
]
EmitFolder = Annotated[Path, typer.Option(help="Folder for what is written by --emit.")]
BuildTimeout = Annotated[
    float, typer.Option(help="Seconds for one compilation, at most; four times those of -O3, where that is more.")
]
RunTimeout = Annotated[float, typer.Option(help="Seconds for one run of the program, at most.")]
Sandbox = Annotated[
    bool,
    typer.Option(
        "--sandbox", help="Run programs in bubblewrap, which must be installed; otherwise they run with your rights."
    ),
]
LocalFile = Annotated[
    Path | None,
    typer.Option("--model", help="GGUF file of the local language model; by default that of `fetch-model`."),
]

_SHOWN_COUNTS = ("functions", "blocks", "instructions", "loops", "loop_load", "loop_store", "vector_values")


@app.command()
def tune(
    sources: Sources,
    budget: Annotated[int, typer.Option(help="Measurements for each program.")] = 50,
    objective: Annotated[
        str,
        typer.Option(
            help="What shall be small: time, instructions, size or cycles (of llvm-mca, by how often blocks run)."
        ),
    ] = "time",
    search: Annotated[
        str,
        typer.Option(
            help="latent (the genetic search, ranked by the latent model), genetic, random, greedy or bayesian."
        ),
    ] = "latent",
    skills: Annotated[bool, typer.Option(help="Whether built-in tuning skills suggest, too.")] = True,
    llm: Llm = "none",
    llm_model: Annotated[str, typer.Option(help="The model's name at the endpoint.")] = "default",
    llm_key_env: LlmKeyEnv = "",
    local_model: Annotated[
        Path | None, typer.Option(help="GGUF file for --llm local; by default that of `fetch-model`.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="What `finetune` made of that model: its adapter.gguf.")] = None,
    llm_cache: Annotated[Path | None, typer.Option(help="Folder of recorded replies.")] = None,
    llm_calls: Annotated[int, typer.Option(help="Most calls of the language model for each program.")] = 8,
    llm_timeout: Annotated[float, typer.Option(help="Seconds of a call, at most.")] = 120.0,
    screening: Annotated[
        bool, typer.Option(help="Whether to compile with each step, too, to search among those that change the code.")
    ] = True,
    experimental: Annotated[
        bool,
        typer.Option(
            "--experimental",
            help="Use steps that are off by default in LLVM, too; `foretune passes list` has the reasons.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    define: Define = [],  # noqa: B006 - typer copies it
    include: Include = [],  # noqa: B006
    cflag: Cflag = [],  # noqa: B006
    ldflag: Ldflag = [],  # noqa: B006
    lib: Library = [],  # noqa: B006
    main: Main = None,
    keep_separate: KeepSeparate = False,
    arg: Argument = [],  # noqa: B006
    stdin: Stdin = None,
    file: File = [],  # noqa: B006
    cwd: Cwd = None,
    ignore: Ignore = [],  # noqa: B006
    expect_exit: ExpectExit = 0,
    check_arg: CheckArg = [],  # noqa: B006
    check_stdin: CheckStdin = [],  # noqa: B006
    check_define: CheckDefine = [],  # noqa: B006
    call: Annotated[
        str,
        typer.Option(
            help=(
                "One function of a file without a main, with its arguments, such as 'saxpy(f32[4096], f32[4096], 2.5,"
                " 4096)'."
            )
        ),
    ] = "",
    time_function: TimeFunction = "",
    tolerance: Tolerance = 0.0,
    build_timeout: BuildTimeout = 20.0,
    run_timeout: RunTimeout = 10.0,
    sandbox: Sandbox = False,
    store: Annotated[
        Path | None, typer.Option(help="Folder of all records; a run that was stopped goes on from it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the results in JSON, which `replay` and `explain` read.")
    ] = None,
    emit: Emit = [],  # noqa: B006
    emit_folder: EmitFolder = Path(),
    beside: Beside = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Tune the pass sequence of a program, or of each program of a folder. The programs run here, with your rights."""
    from foretune.passes.language.llm_client import LlmConfig
    from foretune.passes.llvm import measure
    from foretune.passes.llvm.tuning import beside as besides
    from foretune.passes.llvm.tuning import tuning
    from foretune.passes.llvm.tuning.emit import check_kinds
    from foretune.passes.llvm.tuning.strategies import StrategyConfig

    for path, is_folder in ((out, False), (store, True), (emit_folder if emit else None, True)):
        if path is not None:
            check_writable(path, is_folder)
    config, kinds = tuning.PassTuneConfig(budget, objective, store=store), check_kinds(emit)
    baselines = besides.check_kinds(beside)
    if baselines and (objective != "time" or call):
        raise OptionError("--beside is of times, and of programs with a main")
    if time_function and objective != "time":
        raise OptionError(f"--time-function goes with --objective time, but got {objective}")
    settings = measure.PassMeasureSettings(
        build_timeout_secs=build_timeout, run_timeout_secs=run_timeout, sandbox=sandbox
    )
    arguments = program_arguments(
        sources,
        define,
        include,
        arg,
        stdin,
        lib,
        call,
        check_arg,
        check_stdin,
        file,
        cwd,
        main,
        cflag=cflag,
        ldflag=ldflag,
        keep_separate=keep_separate,
        without_main=objective != "time",
        ignore=ignore,
        expect_exit=expect_exit,
        check_define=check_define,
        time_function=time_function,
        tolerance=tolerance,
    )
    results, failed = [], {}
    with (
        endpoint(llm, local_model, adapter) as url,
        arguments.programs(failed, sandbox) as programs,
        measure.PassMeasurer(settings) as measurer,
    ):
        names = [
            llm_model,
            *(sha256_of(path)[:16] for path in (local_model, adapter) if path is not None),
        ]  # recorded replies are the model's own
        asked = (
            LlmConfig(
                url, "+".join(names), llm_calls, timeout_secs=llm_timeout, cache=llm_cache, api_key=api_key(llm_key_env)
            )
            if url
            else None
        )
        strategy = StrategyConfig(search, skills, asked, seed, screening, experimental)
        for program in programs:
            with progress_bar(printable(program.name), not as_json, transient=True) as show:
                show(0, budget, "compiling")
                try:
                    result = tuning.tune(
                        program, measurer, lambda prepared: strategy.make(prepared, measurer, budget, store), config,
                        lambda r, show=show: show(len(r.trials), budget, _progress(r)),
                    )  # fmt: skip
                except DataError as error:
                    if len(programs) == 1 and not failed:
                        raise
                    failed[program.name] = str(error)
                    continue
            results.append(
                {
                    **result.to_json(),
                    **strategy.report(result.strategy),
                    "source": str(Path(arguments.directory, arguments.sources[0])),
                    "build": asdict(arguments),
                    "timeouts": [build_timeout, run_timeout],
                    "emitted": _emit(kinds, program.whole or program, result.best, measurer, emit_folder),
                    **({"beside": _beside(baselines, arguments, program, measurer)} if baselines else {}),
                }
            )
    document = {"results": results, "failed": failed}
    if out is not None:
        write_text_atomically(out, json.dumps(document, indent=1) + "\n")
    if as_json:
        print_json(document)
    else:
        _print_results(results, failed)
    if not results:
        raise DataError(
            f"nothing could be tuned: {'; '.join(f'{name}: {reason}' for name, reason in failed.items())[:2000]}"
        )


def _progress(result: Any) -> str:
    """The best gain so far, and how far the screening came."""
    screening = result.strategy.screening if result.strategy is not None else None
    told = screening.to_json() if screening is not None else {}
    return f"{result.best_so_far()[-1]:.3f}x" + (
        f", {told['tried']} of {told['of']} steps looked at" if told and told["tried"] < told["of"] else ""
    )


def _beside(kinds: tuple[str, ...], arguments: Any, program: Any, measurer: Any) -> list[dict[str, Any]]:
    """The baselines beside a winner, measured in turns with -O3."""
    from foretune.passes.llvm.tuning import beside

    prepared = measurer.prepare(program)
    relaxed = replace(arguments, cflag=[*arguments.cflag, *beside.RELAXED], check_define=[])
    with relaxed.programs({}) as programs:
        other = next((one for one in programs if one.name == program.name), None)
        return [beside.measure(kind, prepared, measurer, other).to_json() for kind in kinds]


def _emit(kinds: tuple[str, ...], program: Any, sequence: Any, measurer: Any, folder: Path) -> dict[str, Any]:
    """What was given out: kind -> its file, its text and what to know of it; what cannot be is told, and loses no
    result.
    """
    from foretune.passes.llvm.tuning.emit import Emitted, emit

    found = []
    for kind in kinds:
        try:
            found.append(emit(kind, program, sequence, measurer, folder))
        except ForetuneError as error:
            found.append(Emitted(kind, None, str(error)))
    return {
        one.kind: {"path": str(one.path) if one.path else None, "note": one.note, "text": one.text} for one in found
    }


@app.command(name="list")
def list_actions(
    word: Annotated[
        str, typer.Argument(help="Only steps with this word in their name, what they are good for, or their reason.")
    ] = "",
    as_json: Json = False,
) -> None:
    """List the actions: passes, flags and macros, and what is held back, or has left the grammar, with the reasons."""
    from foretune.passes.llvm.tuning.listing import list_steps

    rows = [row for row in list_steps() if word.lower() in " ".join(map(str, row.values())).lower()]
    if as_json:
        print_json({"steps": rows})
        return
    shown = [(r["step"], r["kind"], r["tier"], ", ".join(r["intents"]), r["settings"], r["reason"]) for r in rows]
    print_table(
        ("step", "kind", "tier", "good for", "settings", "reason"),
        shown,
        left=("kind", "tier", "good for", "settings", "reason"),
    )


@app.command()
def emit(
    results: Annotated[Path, typer.Argument(help="What `foretune passes tune --out` wrote.")],
    kind: Annotated[list[str], typer.Option("--emit", help="object, ll, script or flags; may be repeated.")],
    emit_folder: EmitFolder = Path(),
    as_json: Json = False,
) -> None:
    """Write stored winners as objects, modules, scripts of exact commands, or lines of flags."""
    from foretune.passes.llvm import measure
    from foretune.passes.llvm.tuning.emit import check_kinds

    kinds, rows = check_kinds(kind), []
    for stored, program, sequence, settings in stored_results(results):
        with measure.PassMeasurer(settings) as measurer:
            rows.append(
                {
                    "program": stored["program"],
                    "emitted": _emit(kinds, program.whole or program, sequence, measurer, emit_folder),
                }
            )
    if as_json:
        print_json({"results": rows})
        return
    for row in rows:
        _print_emitted(row)


def _print_emitted(row: dict[str, Any]) -> None:
    for kind, told in row["emitted"].items():
        print(printable(f"{row['program']}: {kind}: " + (told["text"] or told["path"] or told["note"])))


@app.command()
def replay(
    results: Annotated[Path, typer.Argument(help="What `foretune passes tune --out` wrote.")],
    repeats: Annotated[int, typer.Option(help="Runs of each winner and of -O3.")] = 15,
    sandbox: Sandbox = False,
    as_json: Json = False,
) -> None:
    """Measure stored winners again, beside -O3."""
    from foretune.passes.llvm import measure
    from foretune.passes.llvm.tuning import tuning

    rows = []
    for stored, program, sequence, settings in stored_results(results, sandbox):
        with measure.PassMeasurer(settings) as measurer:
            again = tuning.confirm(measurer.prepare(program), sequence, measurer, repeats)
            rows.append({"program": stored["program"], "stored_gain": stored["gain"], **again})
    if as_json:
        print_json({"results": rows})
        return
    print_table(
        ("program", "-O3", "tuned", "gain", "95 %", "stored gain", "status"),
        [
            (
                r["program"],
                format_secs(r["baseline_secs"]),
                format_secs(r["best_secs"]),
                f"{r['gain']:.3f}",
                _interval(r["interval"]),
                f"{r['stored_gain']:.3f}",
                r["status"],
            )
            for r in rows
        ],
        left=("status",),
    )


@app.command()
def explain(
    results: Annotated[Path, typer.Argument(help="What `foretune passes tune --out` wrote.")],
    repeats: Annotated[int, typer.Option(help="Runs of each shortened sequence and of -O3.")] = 9,
    evidence: Annotated[
        Path | None, typer.Option(help="File for what the winners teach, a JSON document a line.")
    ] = None,
    sandbox: Sandbox = False,
    as_json: Json = False,
) -> None:
    """Tell what each step of the stored winners is worth: each is left out once and the rest measured."""
    from foretune.passes.llvm import measure
    from foretune.passes.llvm.teaching import evidence as teaching
    from foretune.passes.llvm.tuning import explain as explaining

    documents, taught = [], []
    for stored, program, sequence, settings in stored_results(results, sandbox):
        with measure.PassMeasurer(settings) as measurer:
            prepared = measurer.prepare(program)
            explanation = explaining.explain(prepared, sequence, measurer, repeats)
            documents.append(explanation.to_json())
            taught.append(teaching.evidence_of(explanation, prepared.features, stored["steps"]))
    if evidence is not None:
        teaching.write_evidence(filter(None, taught), evidence)
    if as_json:
        print_json({"results": documents})
        return
    for document in documents:
        print_table(
            ("step", "gain without it", "95 %", "needed"),
            [
                (
                    step["step"],
                    f"{step['gain_without']:.3f}",
                    _interval(step["interval"]),
                    "yes" if step["needed"] else "no",
                )
                for step in document["steps"]
            ],
            f"{document['program']}: {document['gain']:.3f} times as fast as -O3",
        )
        changes = [(name, f"{baseline:.0f}", f"{tuned:.0f}") for name, baseline, tuned in document["counts"]]
        print_table(
            ("count", "-O3", "tuned"), changes, "what the module looks like, where it differs by more than a tenth"
        )
        print(f"needed: {printable(document['command'])}\n")


@app.command()
def observe(
    sources: Sources,
    passes: Annotated[
        list[str],
        typer.Option(
            "--pass", help="A pass as `opt -passes=` reads it; may be repeated, in order. By default default<O3>."
        ),
    ] = ["default<O3>"],  # noqa: B006
    flags: Annotated[list[str], typer.Option("--flag", help="A flag such as -unroll-count=4; may be repeated.")] = [],  # noqa: B006
    define: Define = [],  # noqa: B006
    include: Include = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Look at a module before a sequence and after each pass: counts, embedding, llvm-mca's cycles."""
    from foretune.passes.llvm import measure
    from foretune.passes.llvm.actions import parse_sequence
    from foretune.passes.llvm.embedding import distance
    from foretune.passes.llvm.observe import FEATURES

    sequence, refused = parse_sequence(passes, flags)
    if refused:
        raise OptionError(refused[0])
    with (
        program_arguments(sources, define, include, without_main=True).programs() as programs,
        measure.PassMeasurer() as measurer,
    ):
        if len(programs) != 1:
            raise OptionError(f"one program can be looked at, but {' '.join(sources)} has {len(programs)}")
        looks, error = measurer.compiler.observe_steps(programs[0], sequence)
    names = ["", *map(str, sequence.passes)][: len(looks)]
    if as_json:
        rows = [
            {
                "after": name,
                "counts": dict(zip(FEATURES, look.features)),
                "embedding": look.embedding.tolist(),
                "mca_cycles": look.mca_cycles,
            }
            for name, look in zip(names, looks)
        ]
        print_json({"program": programs[0].name, "steps": rows, "error": error})
        return
    rows = []
    for name, look, before in zip(names, looks, [looks[0], *looks]):
        counts = dict(zip(FEATURES, look.features))
        changed = sum(a != b for a, b in zip(look.features, before.features))
        cycles = f"{look.mca_cycles:,.0f}" if look.mca_cycles is not None else "-"
        rows.append(
            (
                name or "(before)",
                *(f"{counts[key]:.0f}" for key in _SHOWN_COUNTS),
                str(changed),
                f"{distance(before.embedding, look.embedding):.4f}",
                cycles,
            )
        )
    print_table(
        ("after", *(key.replace("_", " ") for key in _SHOWN_COUNTS), "counts changed", "embedding moved", "mca cycles"),
        rows,
        programs[0].name,
    )
    if error:
        raise DataError(f"{passes[len(looks) - 1]} failed: {error}")


@app.command()
def bench(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A program, or a folder; by default those that come with Foretune and that no model is trained on."
        ),
    ] = None,
    searches: Annotated[
        str, typer.Option(help="Searches to compare, such as genetic,random,bayesian.")
    ] = "latent,genetic",
    budget: Annotated[int, typer.Option(help="Measurements for each program and search.")] = 50,
    skills: Annotated[bool, typer.Option(help="Whether built-in tuning skills suggest, too.")] = False,
    seed: Annotated[int, typer.Option(help="Of the searches.")] = 0,
    define: Define = [],  # noqa: B006
    include: Include = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Compare searches on several programs."""
    from foretune.passes.llvm import measure, suite
    from foretune.passes.llvm.tuning import tuning
    from foretune.passes.llvm.tuning.strategies import StrategyConfig

    strategies = {name.strip(): StrategyConfig(name.strip(), skills, None, seed) for name in searches.split(",")}
    gains: dict[str, dict[str, float]] = {}
    with (
        program_arguments([str(source or suite.FOLDER)], define, include).programs() as programs,
        measure.PassMeasurer() as measurer,
    ):
        chosen = [program for program in programs if source is not None or program.name in suite.held_out()]
        with progress_bar("comparing", not as_json, transient=True) as show:
            for number, program in enumerate(chosen):
                show(number, len(chosen), program.name)
                gains[program.name] = {
                    name: (
                        tuning.tune(
                            program,
                            measurer,
                            lambda prepared, s=strategy: s.make(prepared, measurer, budget),
                            tuning.PassTuneConfig(budget),
                        ).gain
                    )
                    for name, strategy in strategies.items()
                }
    means = {name: statistics.geometric_mean(row[name] for row in gains.values()) for name in strategies}
    if as_json:
        print_json({"budget": budget, "geometric_means": means, "programs": gains})
        return
    rows = [(program, *(f"{row[name]:.3f}" for name in strategies)) for program, row in gains.items()]
    print_table(
        ("program", *strategies),
        [*rows, ("geometric mean", *(f"{means[name]:.3f}" for name in strategies))],
        f"times as fast as -O3 after {budget} measurements",
    )


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Folder of the records; a run that was stopped goes on from it.")],
    source: Annotated[
        Path | None, typer.Argument(help="A folder of programs; by default those that come with Foretune.")
    ] = None,
    per_program: Annotated[int, typer.Option(help="Measurements of each program.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the sequences.")] = 0,
    part: Annotated[
        str,
        typer.Option(
            help=(
                "K/N: every N-th program from the K-th on; the parts can be collected side by side, each in its own"
                " folder."
            )
        ),
    ] = "1/1",
    define: Define = [],  # noqa: B006
    include: Include = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Measure random sequences of many programs, to train on."""
    check_writable(out, is_folder=True)
    from foretune.passes.llvm import measure, suite
    from foretune.passes.llvm.tuning import collection

    if not (found := re.fullmatch(r"(\d{1,4})/(\d{1,4})", part)):
        raise OptionError(f"--part must be K/N, but got {part!r}")
    config = collection.CollectConfig(out, per_program, seed, int(found[1]), int(found[2]))
    with (
        program_arguments([str(source or suite.FOLDER)], define, include).programs() as programs,
        measure.PassMeasurer() as measurer,
        progress_bar("collecting", True) as show,
    ):
        counts = collection.collect(programs, measurer, config, lambda name, done, total: show(done, total, name))
    if as_json:
        print_json({"out": str(out), "num_records": counts})
        return
    print_table(("program", "records"), [(name, str(number)) for name, number in counts.items()])


@app.command()
def train(
    data: Annotated[list[Path], typer.Option(help="Folder of what `collect` wrote; may be repeated.")],
    out: Annotated[Path, typer.Option(help="File of the weights.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the data at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train the latent model that ranks pass sequences."""
    check_writable(out)
    from foretune.passes.llvm.tuning import training

    with progress_bar("training", not as_json, transient=True) as show:
        report = training.train_model(
            data, out, epochs, seed, lambda done, total, figures: show(done, total, f"pairs {figures['pairwise']:.3f}")
        )
    if as_json:
        print_json(report)
        return
    print(
        f"{printable(str(out))}: "
        + ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in report.items()
        )
    )


@app.command()
def fetch_model(
    folder: Annotated[Path | None, typer.Option(help="Where to; by default the user's own cache.")] = None,
) -> None:
    """Download the local language model (1.1 GB) for `tune --llm local`."""
    from foretune.passes.language import local_model

    with progress_bar("fetching", True) as show:
        path = local_model.fetch_model(folder, show)
    print(f"{printable(str(path))}: {local_model.NAME}")


@app.command()
def finetune(
    evidence: Annotated[Path, typer.Argument(help="What `foretune passes explain --evidence` wrote.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the adapter and the report; a run that was stopped goes on from it.")
    ],
    model: LocalFile = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="Evidence to evaluate on; by default that of held-out programs, or of a quarter of the programs."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Of training, one record each.")] = 60,
    rank: Annotated[int, typer.Option(help="Of the low-rank changes.")] = 8,
    blocks: Annotated[
        int, typer.Option(help="The last so many blocks of the model are adapted; fewer take less time.")
    ] = 8,
    learning_rate: Annotated[float, typer.Option(help="At its highest.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of first weights, order and split.")] = 0,
    eval_programs: Annotated[
        int, typer.Option(help="Held-out programs that the model is asked about before and after, at most.")
    ] = 8,
    reply_timeout: Annotated[float, typer.Option(help="Seconds of each of its answers, at most.")] = 600.0,
    as_json: Json = False,
) -> None:
    """Fine-tune the local language model on evidence (LoRA), and compare its proposals before and after."""
    check_writable(out, is_folder=True)
    from foretune.costmodel.language.low_rank import LowRankConfig
    from foretune.passes.language import local_model
    from foretune.passes.llvm.teaching import finetuning
    from foretune.passes.llvm.teaching.proposal_quality import compare

    adaptation = LowRankConfig(
        rank=rank, strength=2.0 * rank, blocks=blocks, steps=steps, learning_rate=learning_rate, seed=seed
    )
    config = finetuning.FinetuneConfig(
        evidence, out, model or local_model.model_path(), held_out, adaptation, eval_programs, reply_timeout
    )
    with progress_bar("fine-tuning", not as_json, transient=True) as show:
        document = finetuning.finetune(config, lambda what, done, total, detail: show(done, total, f"{what} {detail}"))
    if as_json:
        print_json(document)
        return
    print_table(
        ("on held-out programs", "before", "after"),
        compare(document["before"], document["after"]),
        f"{document['model']}, tuned on {len(document['learnt'])} programs",
    )
    print(
        f"loss {document['losses'][0]:.3f} to {document['losses'][-1]:.3f}; foretune passes tune PROGRAM --llm local"
        f" --adapter {printable(document['adapter'])}"
    )


def _print_results(results: list[dict[str, Any]], failed: dict[str, str]) -> None:
    rows = []
    for result in results:
        times = (format_secs(result["baseline_secs"] or None), format_secs(result["best_secs"] or None))
        statuses = ", ".join(f"{number} {status}" for status, number in result["statuses"].items())
        rows.append(
            (
                result["program"],
                *times,
                f"{result['gain']:.3f}",
                _interval(result["interval"]),
                str(result["num_trials"]),
                statuses,
            )
        )
    print_table(("program", "-O3", "tuned", "gain", "95 %", "trials", "how they ended"), rows, left=("how they ended",))
    for result in results:
        if told := result.get("strategist"):  # it counts sequences that give machine code measured before, too
            shares = ", ".join(
                f"{number} by {origin} (best {told['best_gain'].get(origin, 0.0):.3f}x)"
                for origin, number in told["measured"].items()
            )
            print(
                f"{printable(result['program'])}: of the sequences whose time is known, {shares}"
                + (f"; {told['num_refused']} refusals" if told["num_refused"] else "")
            )
        for told in result.get("beside", ()):
            gain = f"{told['gain']:.3f} ({_interval(told['interval'])})" if told["interval"] else "not measured"
            print(printable(f"{result['program']}: beside it, {told['name']}: {gain} {told['note']}".rstrip()))
        _print_conditions(result)
        print(printable(f"{result['program']}: {told_rungs(result['rungs'])}"))
        _print_emitted(result)
        is_short = result["command"] == f"opt {result['sequence']}"
        what = f"opt {result['sequence']}" + ("" if is_short else "; --emit script writes its pipeline out")
        what = what if result["gain"] > 1 else "nothing measured beats -O3, which stays"
        print(f"{printable(result['program'])}: {printable(what)}")
    for name, reason in failed.items():
        print(f"{printable(name)}: left out: {printable(reason)}")


def _print_conditions(result: dict[str, Any]) -> None:
    """What makes times other than those of whole, exact runs."""
    if function := result.get("timed"):
        print(printable(f"{result['program']}: times are those of all calls of {function}"))
    if tolerance := result.get("tolerance"):
        told = "relaxed, -O3 and all candidates alike: floating point as under -ffast-math, but for NaN and infinity"
        print(f"{printable(result['program'])}: {told}; outputs agree within {tolerance:g}")


def _interval(interval: list[float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
