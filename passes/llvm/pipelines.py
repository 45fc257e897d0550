"""The pipeline of `-O3` itself, as LLVM prints it, with further passes at points inside.

What stands before or after `-O3` works on loops that nobody has put in order yet, or that are unrolled and vectorised
already; inside, a pass meets them in between. LLVM reads the text that it prints: without a pass inside it is `-O3`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache

from foretune.errors import UnsupportedError
from foretune.passes.llvm.tables import POINTS
from foretune.passes.llvm.toolchain import VERSION, find_toolchain
from foretune.support.tools import run_tool

_BEFORE: dict[str, str] = dict(
    zip(
        POINTS,
        (
            r"(?<=function<eager-inv>\()(?:drop-unnecessary-assumes,)?float2int,",
            r"loop-distribute,",
            r"slp-vectorizer,",
            r"loop-unroll<O3>,",
        ),
    )
)
"""What follows each point, once in the pipeline."""
_TIMEOUT_SECS = 60


def o3_with(inside: Mapping[str, str], flags: tuple[str, ...] = ()) -> str:
    """The pipeline of `-O3`, with passes inside.

    Args:
        inside: point of `POINTS` -> a pass of functions as it stands in a pipeline.
        flags: of LLVM's command line, some of which change the pipeline.

    Raises:
        UnsupportedError: there is no `opt`, or its pipeline has no such point.
    """
    text = o3_pipeline(flags)
    for point, name in inside.items():
        places = list(re.finditer(_BEFORE[point], text))
        if len(places) != 1:
            raise UnsupportedError(
                f"the pipeline of -O3 has the point {point} {len(places)} times in place of once; its text is known of"
                f" LLVM {VERSION}"
            )
        text = f"{text[: places[0].start()]}{name},{text[places[0].start() :]}"
    return text


@cache
def o3_pipeline(flags: tuple[str, ...] = ()) -> str:
    """The pipeline of `-O3` under some flags, as `opt` prints it.

    Raises:
        UnsupportedError: there is no `opt`, or it does not print it.
    """
    command = [str(find_toolchain().tool("opt")), "-passes=default<O3>", *flags, "-print-pipeline-passes"]
    try:
        done = run_tool([*command, "-disable-output", "-"], _TIMEOUT_SECS)
    except subprocess.TimeoutExpired:
        raise UnsupportedError(f"opt does not print its pipeline within {_TIMEOUT_SECS} s") from None
    if done.returncode or not done.stdout.strip():
        raise UnsupportedError(f"opt does not print its pipeline: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()
