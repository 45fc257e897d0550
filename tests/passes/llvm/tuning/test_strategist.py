"""Skills, the language model's client and the strategist, against a real server on loopback that behaves and
misbehaves.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from foretune.cli.language import api_key
from foretune.errors import OptionError
from foretune.passes.language.llm_client import LlmClient, LlmConfig
from foretune.passes.llvm.actions import PassSequence
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.tuning.moves import BASE
from foretune.passes.llvm.tuning.search import RandomSearch, RankedSearch
from foretune.passes.llvm.tuning.skills import SKILLS, applicable
from foretune.passes.llvm.tuning.strategist import SCHEMA, Strategist, read_proposals

MESSAGES = [{"role": "user", "content": "what now?"}]
PROGRAM = SimpleNamespace(features=tuple(5.0 for _ in FEATURES))


def proposal(**parts):
    return {"intent": "unroll", "reason": "", "before": [], "level": "O3", "after": [], "flags": [], **parts}


def completion(text):
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 10}}).encode()


@contextlib.contextmanager
def server(respond):
    """An endpoint; `respond(handler, request)` writes the answer."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                respond(self, requests[-1])

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", requests
    finally:
        running.shutdown()
        running.server_close()


def answers(body, status=200):
    def respond(handler, _):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def hangs(handler, _):
    time.sleep(5)


def streams_for_ever(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while True:
        handler.wfile.write(b"garbage " * 4096)


def drips_headers(handler, _):
    for _ in range(100):
        handler.wfile.write(b"H")
        time.sleep(0.1)


def client(url, **options):
    return LlmClient(LlmConfig(url, **{"timeout_secs": 1.0, "retries": 0, **options}))


def test_answers_are_recorded_and_replayed(tmp_path):
    with server(answers(completion("hello"))) as (url, requests):
        asked = client(url, cache=tmp_path, model="m")
        assert asked.ask(MESSAGES, SCHEMA).text == "hello" and asked.usage.tokens == 10
        assert asked.ask(MESSAGES, SCHEMA).recorded and len(requests) == 1
        assert requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA and requests[0]["model"] == "m"
    replayed = client("replay", cache=tmp_path, model="m")
    assert replayed.ask(MESSAGES, SCHEMA).text == "hello" and replayed.usage.recorded == 1
    assert "no recorded reply" in replayed.ask([{"role": "user", "content": "else"}], SCHEMA).error
    next(tmp_path.glob("*.json")).write_text("{")
    assert "is damaged" in replayed.ask(MESSAGES, SCHEMA).error


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (answers(b"<html>", 200), "the reply is no chat completion"),
        (answers(b"{}", 200), "the reply is no chat completion"),
        (answers(completion(None), 200), "the reply holds no text"),
        (answers(b"[" * 100_000, 200), "the reply is no chat completion"),
        (answers(b"no", 500), "the server answered with status 500"),
        (answers(b"no", 401), "the server answered with status 401"),
        (hangs, "no reply within 1 s"),
        (streams_for_ever, "the reply is longer than"),
        (drips_headers, "no whole reply within 1 s|connection broke|ConnectionError"),
    ],
)
def test_servers_that_misbehave(respond, reason):
    with server(respond) as (url, _):
        start = time.monotonic()
        reply = client(url).ask(MESSAGES, SCHEMA)
    assert not reply.text and any(part in reply.error for part in reason.split("|")) and time.monotonic() - start < 30


def test_no_server():
    assert "Connection" in client("http://127.0.0.1:9").ask(MESSAGES, SCHEMA).error


def test_budgets():
    with server(answers(completion("x"))) as (url, requests):
        few = client(url, max_calls=2)
        assert [few.ask(MESSAGES, SCHEMA).error for _ in range(3)] == [
            "",
            "",
            "the budget of 2 calls is used up",
        ] and len(requests) == 2
        short = client(url, max_tokens=15)
        assert [bool(short.ask(MESSAGES, SCHEMA).error) for _ in range(3)] == [False, False, True]
    with server(answers(b"", 500)) as (url, requests):
        client(url, retries=3, max_calls=2).ask(MESSAGES, SCHEMA)
        assert len(requests) == 2


def test_settings():
    for options, reason in (
        ({"url": "file:///etc/passwd"}, "URL that begins with"),
        ({"url": "replay"}, "replay needs a folder"),
        ({"url": "http://x", "max_calls": 0}, "`max_calls > 0`"),
    ):
        with pytest.raises(OptionError, match=reason):
            LlmConfig(**options)


def test_proposals_are_read_by_the_grammar():
    text = json.dumps(
        {
            "proposals": [
                proposal(before=["gvn", "gvn", "evil; reboot"], flags=["-unroll-count=4", "-load=x.so"], after=["licm"])
            ]
        }
    )
    [found] = read_proposals(text)
    assert (
        str(found.sequence) == "-passes='function(gvn),default<O3>,function(loop-mssa(licm))' -unroll-count=4"
        and found.intent == "unroll"
    )
    assert found.refused == ("there is no pass 'evil; reboot'", "there is no flag '-load=x.so'")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"proposals": 7}',
        '{"proposals": [7, null, []]}',
        '{"proposals": [{"before": "gvn"}]}',
        '{"proposals": [{"level": "O9"}]}',
        '{"proposals": [{"level": ["O3"]}]}',
        '{"proposals": [{"flags": [{"a": 1}]}]}',
        "[" * 200_000,
        '{"proposals": [{"flags": ["' + "x" * 10_000_000 + '"]}]}',
        json.dumps({"proposals": [proposal(flags=["-unroll-count=4"] * 1000)]}),
        json.dumps({"proposals": [proposal(flags=["$(reboot)", "`id`", "-o /etc/passwd"])] * 50}),
    ],
)
def test_hostile_answers_are_refused_with_a_reason(text):
    found = read_proposals(text)
    assert any(p.refused for p in found) and all(p.sequence in (None, BASE) for p in found)
    assert all(len(reason) < 500 for p in found for reason in p.refused)


def test_skills_fit_the_grammar_and_the_program():
    assert len({skill.name for skill in SKILLS}) == len(SKILLS) >= 20
    none = applicable([0.0] * len(FEATURES))
    assert 0 < len(none) < len(applicable(PROGRAM.features)) and not any(
        s.steps.uses_polly for s in applicable(PROGRAM.features, polly=False)
    )


def rounds(strategy, num):
    for _ in range(num):
        strategy.observe(
            [(s, 0.5 if any(f.name == "tail-dup-size" for f in s.flags) else 1.1) for s in strategy.suggest(4)]
        )


def test_the_strategist_mixes_and_tells_who_had_the_idea():
    text = json.dumps({"proposals": [proposal(flags=["-tail-dup-size=8"]), proposal(flags=["-evil"])]})
    with server(answers(completion(text))) as (url, requests):
        strategy = Strategist(PROGRAM, RandomSearch(0), client(url))
        rounds(strategy, 8)
    report = strategy.report.to_json()
    assert (
        set(report["measured"]) == {"skills", "model", "search"}
        and report["accepted"] == 1
        and report["best_gain"]["model"] == 2.0
    )
    assert report["replies"][0] == text and "there is no flag '-evil'" in report["refused"]
    shown = json.loads(requests[-1]["messages"][1]["content"])
    assert (
        shown["counts"]
        and shown["skills that apply"]
        and any(line.startswith("2.000x") for line in shown["measured speed relative to -O3, best first"])
    )


def test_the_search_goes_on_without_the_server():
    with server(answers(b"", 500)) as (url, requests):
        strategy = Strategist(PROGRAM, RandomSearch(0), client(url))
        rounds(strategy, 30)
    assert (
        len(requests) == 2
        and len(strategy.costs) > 80
        and "the server answered with status 500" in strategy.report.refused
    )
    assert all(math.isfinite(cost) for cost in strategy.costs.values()) and isinstance(
        next(iter(strategy.costs)), PassSequence
    )


COUNTS = ("unroll-threshold", "unroll-partial-threshold", "inline-threshold")


def is_good(sequence):
    return sum(flag.name in COUNTS for flag in sequence.flags) >= 2


def thirty_proposals():
    """Three of them, in the middle and at the end, have two of the flags that help; the others follow one another as a
    model's do.
    """
    names = [
        ("align-all-nofallthru-blocks", (4, 5)),
        ("tail-dup-size", (1, 8)),
        ("slp-threshold", (-20, -10, -5, 5, 20)),
        ("small-loop-cost", (5, 40, 80)),
        ("vectorizer-min-trip-count", (4, 8, 32)),
        ("max-dependences", (400, 1000)),
        ("rotation-max-header-size", (0, 64)),
        ("unswitch-threshold", (0, 100, 300)),
        ("jump-threading-threshold", (0, 12, 30)),
        ("phi-node-folding-threshold", (0, 4)),
    ]
    poor = [proposal(flags=[f"-{name}={value}"]) for name, values in names for value in values][:27]
    good = [
        proposal(flags=[f"-{one}={a}", f"-{two}={b}"])
        for (one, a), (two, b) in (
            (("unroll-threshold", 600), ("inline-threshold", 500)),
            (("unroll-partial-threshold", 300), ("inline-threshold", 1000)),
            (("unroll-threshold", 150), ("unroll-partial-threshold", 75)),
        )
    ]
    return [*poor[:12], good[0], *poor[12:20], good[1], *poor[20:], good[2]]


def test_thirty_proposals_are_ranked_and_the_good_ones_measured():
    proposals = thirty_proposals()
    assert len(proposals) == 30
    measured = []
    with server(answers(completion(json.dumps({"proposals": proposals})))) as (url, _):
        search = RankedSearch(
            lambda pool: np.array([float(sum(flag.name in COUNTS for flag in s.flags)) for s in pool]), 0, explores=0.0
        )
        strategy = Strategist(PROGRAM, search, client(url), num_skills=0)
        for _ in range(3):
            suggested = strategy.suggest(4)
            measured += suggested
            strategy.observe([(s, 0.5 if is_good(s) else 1.0) for s in suggested])
    report = strategy.report.to_json()
    told = report["proposals"]
    assert report["accepted"] == 30 == len(told)
    good = [row for row in told if sum(f"-{name}=" in row["proposal"] for name in COUNTS) >= 2]
    assert len(good) == 3 and all(row["rank"] <= 3 and row["gain"] == 2.0 for row in good)
    assert all(row["rank"] and row["among"] for row in told)
    poor = [row for row in told if row not in good]
    assert sum(row["gain"] is not None for row in poor) <= 2  # the others are hardly measured, though they came first
    assert (
        report["measured"]["model"] == sum(row["gain"] is not None for row in told)
        and report["measured"]["search"] >= 6
    )


def test_known_machine_code_is_no_measurement():
    with server(
        answers(
            completion(
                json.dumps({"proposals": [proposal(flags=["-tail-dup-size=8"]), proposal(flags=["-tail-dup-size=1"])]})
            )
        )
    ) as (url, _):
        strategy = Strategist(PROGRAM, RandomSearch(0), client(url), num_skills=0)
        suggested = strategy.suggest(2)
        strategy.repeats.add(suggested[0])
        strategy.observe([(s, 0.9) for s in suggested])
    told = strategy.report.to_json()
    assert sum(told["measured"].values()) == 1 and [row["known_code"] for row in told["proposals"]] == [True, False]


def test_proposals_of_a_search_without_a_model_take_half_at_most():
    with server(answers(completion(json.dumps({"proposals": thirty_proposals()})))) as (url, _):
        strategy = Strategist(PROGRAM, RandomSearch(0), client(url), num_skills=0)
        rounds(strategy, 2)
    assert strategy.report.measured == {"model": 4, "search": 4} and all(
        row["rank"] is None for row in strategy.report.to_json()["proposals"]
    )


def test_several_answers_follow_several_intents():
    with server(answers(completion(json.dumps({"proposals": [proposal(flags=["-tail-dup-size=8"])]})))) as (
        url,
        requests,
    ):
        Strategist(PROGRAM, RandomSearch(0), client(url), num_samples=3).suggest(4)
    shown = [json.loads(request["messages"][1]["content"])["follow mainly"] for request in requests]
    assert len(shown) == 3 and sum(map(len, shown)) == len({intent for intents in shown for intent in intents}) == 7


def test_the_key_goes_to_https_or_this_machine_and_only_when_named(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("MY_KEY", "mine")
    assert api_key("") == "none" and api_key("MY_KEY") == "mine"
    with pytest.raises(OptionError, match="names the environment variable NO_KEY, which is not set"):
        api_key("NO_KEY")
    for url in ("https://models.example/v1", "http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:1/v1"):
        assert LlmConfig(url, api_key="mine").api_key == "mine"
    for url in (
        "http://models.example/v1",
        "http://127.0.0.1.example/v1",
        "http://localhost@models.example/v1",
        "http://10.0.0.1/v1",
    ):
        assert LlmConfig(url).api_key == "none"
        with pytest.raises(OptionError, match="a key is sent to https or to this machine alone"):
            LlmConfig(url, api_key="mine")
    seen = []

    def respond(handler, _):
        seen.append(handler.headers["Authorization"])
        answers(completion("x"))(handler, _)

    with server(respond) as (url, _):
        client(url).ask(MESSAGES, SCHEMA)
        client(url, api_key="mine").ask(MESSAGES, SCHEMA)
    assert "secret" not in str(seen) and seen[1] == "Bearer mine"
