"""The check of a GPU, in miniature on the CPU."""

from __future__ import annotations

import json
import math
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from benchmarks import gpu_check, harness, rows, throughput
from benchmarks.harness import Gate
from benchmarks.processes import Process
from models.sam2_video import Propagator


@pytest.mark.slow
def test_all_checks_run_and_pass_in_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "check.json"
    assert gpu_check.main(["--device", "cpu", "--json", str(document), "--minutes", "600"]) == 0
    printed = capsys.readouterr().out
    assert "There is no GPU" in printed
    written = json.loads(document.read_text())
    names = [gate["name"] for gate in written["gates"]]
    for checked in (
        "image predictor: row 5, fp32",
        "YOLO's own predict: row 5, fp32",
        "video predictor: masks",
        "waiting for",
    ):
        assert any(checked in name for name in names)
    assert all(gate["passed"] for gate in written["gates"])
    pasted = json.loads(printed.split("```json\n")[1].split("```")[0])
    assert [line["row"][0] for line in pasted["results"]] == ["2", "5", "6", "2", "5"]
    assert pasted["left_out"] == []


@pytest.mark.slow
def test_tracks_that_differ_fail_and_a_check_that_breaks_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: object, ends: float) -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nand more")

    add_boxes = Propagator.add_boxes

    def elsewhere(self: Propagator, boxes: dict[int, np.ndarray]) -> object:
        return add_boxes(self, {i: boxes[len(boxes) - 1 - i] for i in boxes})

    monkeypatch.setattr(gpu_check, "gates_of", broken)
    monkeypatch.setattr(gpu_check, "speeds", lambda options, document, ends: iter(()))
    monkeypatch.setattr(Propagator, "add_boxes", elsewhere)
    assert gpu_check.main(["--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: SAM2's own image predictor: RuntimeError: CUDA error: an illegal memory access" in printed
    assert "FAILED: SAM2's own video predictor" in printed
    assert "passed: waiting for the GPU" in printed


@pytest.mark.parametrize(("capability", "native"), [((9, 0), "bf16"), ((7, 5), "fp32")])
def test_on_a_gpu_compiling_comes_last_and_what_was_measured_before_is_kept_where_it_fails(
    capability: tuple[int, int], native: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen, document = list[tuple[str, str | None, list[str], list[int], int]](), tmp_path / "check.json"

    def checked(given: Namespace, ours: object, precisions: list[str], count: int) -> Iterator[Gate]:
        seen.append((given.compile, given.detector, precisions, given.rows, count))
        yield Gate("masks are equal", True, {})
        if given.compile != "off":
            written = json.loads(document.read_text())
            assert written["gates"][-1]["name"].endswith("masks are equal") and written["results"], "not kept"
            raise RuntimeError("no compiler")

    def measured(given: Namespace, _: object, began: float, unavailable: dict[str, str]) -> Iterator[tuple[dict, dict]]:
        unavailable["6, bf16, model"] = "out of memory"
        if given.precisions == [native]:
            yield {}, {}

    monkeypatch.setattr(harness, "device_type", lambda name: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(harness, "workload", nullcontext)
    monkeypatch.setattr(rows, "Rows", lambda work, once=False, deadline=0: nullcontext(work))
    for name, fake in {"checked": checked, "measured": measured}.items():
        monkeypatch.setattr(throughput, name, fake)
    monkeypatch.setattr(throughput, "summary", lambda *_: [{"row": "5"}])
    for name in ("clip_gate", "waiting_gate"):
        monkeypatch.setattr(gpu_check, name, lambda *_: Gate("fine", True, {}))
    assert gpu_check.main(["--json", str(document)]) == 1
    every = [*throughput.ROWS]
    assert seen == [
        ("off", None, sorted({"fp32", "fp16", native}), every, 8),
        ("off", "yolov8n", ["fp32"], every, 8),
        ("off", None, [native], [2, 5, 6], 0),
        ("default", None, [native], [5], 8),
    ]
    written = json.loads(document.read_text())
    assert [gate["name"] for gate in written["gates"] if not gate["passed"]] == [
        f"{gpu_check.COMPILED}: RuntimeError: no compiler"
    ]
    assert written["results"] == [{"row": "5"}] and written["unavailable"] == {"6, bf16, model": "out of memory"}


def test_a_check_that_hangs_fails_and_those_for_which_no_time_is_left_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, given, document = [0.0], list[float](), tmp_path / "check.json"

    def check(hangs: bool) -> Callable[[float], Iterator[Gate]]:
        def run(ends: float) -> Iterator[Gate]:
            given.append(ends - clock[0])
            clock[0] = ends if hangs else clock[0] + 60
            if hangs:
                raise TimeoutError
            yield Gate("fine", True, {})

        return run

    checks = {"one": check(hangs=True), "two": check(hangs=False), gpu_check.COMPILED: check(hangs=True)}
    monkeypatch.setattr(gpu_check, "checks_of", lambda *_: {**checks, "four": check(hangs=False)})
    monkeypatch.setattr(gpu_check, "time", Mock(monotonic=lambda: clock[0]))
    assert gpu_check.main(["--device", "cpu", "--minutes", "8", "--json", str(document)]) == 1
    written = json.loads(document.read_text())
    assert [(gate["name"], gate["passed"]) for gate in written["gates"]] == [
        ("one: it did not end within 120 seconds", False),
        ("two: fine", True),
    ]
    assert given == [120, 120, 300] and written["left_out"] == [gpu_check.COMPILED, "four"]


def test_a_process_whose_time_is_up_is_killed() -> None:
    began = time.monotonic()
    with Process() as process:
        assert process(math.inf, math.sqrt, 4) == 2
        (child,) = process._processes.values()
        with pytest.raises(TimeoutError):
            process(time.monotonic() + 0.1, time.sleep, 600)
        child.join()
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("waits", [0, 2])
def test_waits_are_counted_and_what_torch_says_of_its_counting_is_none(
    waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_mode(mode: str) -> None:
        warnings.warn("Synchronization debug mode does not yet detect all synchronizing operations", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with gpu_check.noted_waits("cuda") as noted:
        for _ in range(waits):
            warnings.warn("called a synchronizing CUDA operation (Triggered internally at ...)", stacklevel=1)
    assert len(noted) == waits


def test_processes_that_do_one_task_leave_the_gpu_to_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended: list[str] = []

    class Noted(rows.Process):  # which is a thread here
        def shutdown(self, *arguments: bool, **settings: bool) -> None:
            ended.append("ended")
            super().shutdown(*arguments, **settings)

    monkeypatch.setattr(rows, "Process", Noted)
    monkeypatch.setattr(rows, "_loaded", lambda row, precision, work: row)
    work = Mock(out=lambda row, precision: tmp_path / "none")
    for once, expected in ((True, ["ended", "ended"]), (False, [])):
        ended.clear()
        with rows.Rows(work, once=once) as ours:
            assert [ours(row, "fp32", lambda run: 10 * run) for row in (3, 5)] == [30, 50]
            assert ended == expected
