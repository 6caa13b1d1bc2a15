# SPDX-License-Identifier: Apache-2.0
"""`benchmarks.accelerator`, tiny, on the CPU: every kind of row, and none stops it."""

import json
import math
import subprocess
import sys
import time

import jax
import pytest

pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")

from benchmarks import accelerator, device_checks, device_page, fused_head, on_device

TINY = on_device.Sizes(
    heads=((40, 16, 96),),
    budgets=(13,),
    dense=(("integer", 8, 16),),
    repeats=2,
    certified=math.inf,
)
PARTS = ("device", "checks", "products", "heads", "memory", "certify", "dense")


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setitem(on_device.SIZES, "cpu", TINY)
    monkeypatch.setattr(on_device.command, "TABLE", on_device.command.TABLE[:1])
    monkeypatch.setattr(device_checks, "ODD", (21, 10, 37))
    monkeypatch.setattr(device_checks, "POSITIONS", 6)
    monkeypatch.setattr(device_checks, "CLASSES", 37)
    # Of heads the one whose error has a bound, and one that has none.
    ours, optax = {}, {"optax": fused_head.optax_mean}
    ours |= fused_head.implementations()
    monkeypatch.setattr(on_device.device_times, "heads", lambda: ours | optax)
    return list(on_device.items(quick=True))


def rows_of(plan, *args, **options):
    told = []
    status = on_device.run(plan, 0, math.inf, told.append, *args, **options)
    told = json.loads(json.dumps(on_device.strict(told)))
    return status, [row for row in told if "part" in row]


@pytest.mark.thorough
@pytest.mark.quickly_compiled
def test_every_kind_of_row(plan, tmp_path):
    status, rows = rows_of(plan)
    result = {"command": "this", "seconds": 1, "rows": rows}
    assert status == 0
    assert not device_page.failures(result)
    assert not device_page.skipped(result)
    assert {row["part"] for row in rows} == set(PARTS)
    checked = {row.get("regime") for row in rows if row["part"] == "checks"}
    assert checked == {None, *device_checks.REGIMES}
    heads = {row["head"]: row for row in rows if row["part"] == "heads"}
    assert heads["jaxent, xla"]["ok"]
    assert heads["optax"]["products_tflops"] > 0
    device_page.save(result, tmp_path / "accelerator.json")
    text = (tmp_path / "accelerator.md").read_text()
    assert all(title in text for title, *_ in device_page.TABLES.values())
    assert json.loads((tmp_path / "accelerator.json").read_text()) == result
    assert (tmp_path / "accelerator.png").stat().st_size > 10_000


def spoilt(f, of_loss, of_gradient):
    """A head whose loss, or gradient, is off by a little."""

    @jax.custom_vjp
    def off(loss):
        return loss * of_loss

    off.defvjp(lambda x: (x * of_loss, None), lambda _, g: (g * of_gradient,))
    return lambda *args, **options: off(f(*args, **options))


@pytest.mark.parametrize(
    ("factors", "broken"),
    [((1 + 2.0**-20, 1), {"loss"}), ((1, 1 + 2.0**-6), {"slopes"})],
    ids=["loss", "gradient"],
)
@pytest.mark.quickly_compiled
def test_what_is_off_is_a_row_that_says_so(factors, broken):
    f = spoilt(fused_head.implementations()["jaxent, xla"], *factors)
    rows = list(device_checks.regimes(f, "bfloat16"))
    regimes = {r["regime"] for r in rows if not r["ok"]}
    assert {r["what"] for r in rows if not r["ok"]} == broken
    assert "normal" in regimes
    assert len(rows) == 2 * len(device_checks.REGIMES)


def item(name, *rows, failure=None, head=""):
    def made():
        yield from rows
        if failure is not None:
            raise failure

    return on_device.Item("checks", name, made, head)


INTERNAL = jax.errors.JaxRuntimeError("INTERNAL: an illegal address\nand more")
MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")


def test_a_failure_is_a_row_and_not_a_stop():
    plan = [
        item("first", {"x": 1}, failure=ValueError("wrong\nat length")),
        item("second", failure=MEMORY),
        item("of another", {"x": 2}, head="hanging"),
        item("third", {"x": math.nan}),
        item("fourth", failure=INTERNAL),
        item("not reached"),
    ]
    status, rows = rows_of(plan, ["hanging"])
    said = [r.get("fails") or r.get("skipped") or r["x"] for r in rows]
    assert status == on_device.SPOILT
    assert said[:4] == [1, "ValueError: wrong", f"JaxRuntimeError: {MEMORY}",
                        "hanging hangs, or ends its process"]  # fmt: skip
    assert said[5] == "JaxRuntimeError: INTERNAL: an illegal address"
    assert said[4] == "nan"


def test_when_the_time_is_over_the_rest_is_named():
    told = []
    on_device.run([item("late")], 0, 0.0, told.append)
    assert told[1]["skipped"] == "the time was over"


def worker(*scripts):
    """Instead of a process: what each in turn tells, and why it ends."""
    names = ["a", "b", "c", "d"]
    plan = [("checks", name, "kernels" * (name in "bd")) for name in names]
    runs = iter(scripts)

    def process(folder, options, end, silence):
        asked.append(options)
        begun, why = next(runs)
        told = [{"plan": plan}] * bool(begun)
        for i in map(int, begun):
            told += [{"begin": i}, {"part": "checks", "item": names[i], "ok": True}]
        return told[: None if why == "" else -1] + [{"end": True}] * (why == ""), why

    asked = []
    return process, asked


def test_what_ends_a_process_does_not_end_the_rest(monkeypatch, tmp_path):
    process, asked = worker(
        ([0, 1], "hangs: nothing for 75 s"), ([2], "ends the process: signal 11"),
        ([3], ""),
    )  # fmt: skip
    monkeypatch.setattr(accelerator, "process", process)
    rows = accelerator.measured(tmp_path, accelerator.FULL, quick=False)
    assert [r.get("fails") for r in rows] == [
        None, "hangs: nothing for 75 s", "ends the process: signal 11", None
    ]  # fmt: skip
    assert [options[1] for options in asked] == ["0", "2", "3"]
    assert asked[2][2:] == ["--without", "kernels"]


def test_a_head_may_end_three_processes(monkeypatch, tmp_path):
    process, asked = worker(*(([i], "ends the process") for i in "1313"), ([0], ""))
    monkeypatch.setattr(accelerator, "process", process)
    accelerator.measured(tmp_path, accelerator.FULL, quick=False)
    assert ["--without" in options for options in asked] == [False] * 3 + [True] * 2


def test_a_process_that_does_not_begin_ends_it(monkeypatch, tmp_path):
    process, _ = worker(([], "ModuleNotFoundError: jaxtyping"))
    monkeypatch.setattr(accelerator, "process", process)
    (row,) = accelerator.measured(tmp_path, accelerator.QUICK, quick=True)
    assert row["fails"] == "ModuleNotFoundError: jaxtyping"


def test_the_end_of_the_time_names_what_is_not_reached(monkeypatch, tmp_path):
    process, _ = worker(([0, 1], "the time was over"))
    monkeypatch.setattr(accelerator, "process", process)
    limits = accelerator.Limits(all=0, silence=1)
    rows = accelerator.measured(tmp_path, limits, quick=True)
    assert [r["item"] for r in rows if "skipped" in r] == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import time; time.sleep(60)", "hangs"),
        ("import os; os.kill(os.getpid(), 9)", "ends the process: signal 9"),
        ("pass", ""),
    ],
)
def test_a_process_is_watched(tmp_path, code, why):
    path = tmp_path / "rows"
    path.write_text('{"plan": []}\n{"not whole')
    run = subprocess.Popen([sys.executable, "-S", "-c", code])
    try:
        found = accelerator.watched(run, path, time.monotonic() + 30, silence=1.0)
        assert found.startswith(why)
        assert bool(found) == bool(why)
    finally:
        run.kill()
        run.wait()
