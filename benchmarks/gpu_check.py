"""Is this project right, and how fast, on this GPU? One command, at most ten minutes; paste what it prints in an issue.

python -m benchmarks.gpu_check                    SAM2.1 tiny
python -m benchmarks.gpu_check --model large

First correctness: masks against SAM2's own predictors in fp32, bf16 and fp16; boxes against YOLO's own `predict`;
tracks against SAM2's video predictor; and whether the host waits for the GPU while it fills its queue. Then images a
second, at last compiled, once the masks are compared again. A check that fails, or takes too long, is named, and the
next one begins. Without a GPU the same is done in miniature on the CPU, which only shows that the checks run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness, rows, throughput
from benchmarks.harness import Gate
from datasets.scenes import paint_scene
from utils.device import choose_precision
from utils.errors import first_line

COMPILED = "images a second, compiled"
MINIATURE = [
    *("--model", "demo", "--image_size", "64", "--size", "160x90", "--boxes", "3"),
    *("--images", "2", "--repeats", "1", "--seconds", "0.01"),
]
FRAMES = 9  # more than a memory holds


@dataclass
class Document:
    """Hold what is to be pasted into an issue; written to a file after each step, since a run may be cut off."""

    json: Path | None
    gates: list[Gate] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, check: str, gate: Gate) -> None:
        """Add a gate of a check and print it."""
        self.gates.append(replace(gate, name=f"{check}: {gate.name}"))
        print(self.gates[-1], flush=True)
        self.save()

    def save(self) -> None:
        """Write what is known so far."""
        harness.write_json(self.json, **self.content())

    def content(self) -> dict[str, Any]:
        """Return what is known so far."""
        known = {"gates": [*map(asdict, self.gates)], "results": self.results}
        return {**known, "unavailable": self.unavailable, "left_out": self.left_out}


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checks, print a table and the document; return 0, or 1 if one failed."""
    parser = harness.parser_of("gpu_check", __doc__)
    parser.add_argument("--model", choices=harness.MODELS, default="tiny", help="SAM2.1's architecture (tiny)")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all checks; a quarter for one (%(default)s)")
    given, began = parser.parse_args(argv), time.monotonic()
    print(harness.heading(), flush=True)
    if given.device != "cuda":
        print("There is no GPU that torch can use: this only shows that the checks run.")
    document, seconds = Document(given.json), 60 * given.minutes
    for name, check in checks_of(given, document).items():
        now = time.monotonic()
        left = began + seconds - now
        limit = left if name == COMPILED else min(left, seconds / 4)
        try:
            if left <= 0:
                raise TimeoutError
            for gate in check(now + limit):
                document.add(name, gate)
        except TimeoutError:
            if limit < left:
                document.add(name, Gate(f"it did not end within {limit:.0f} seconds", False, {}))
            else:
                document.left_out.append(name)
        except Exception as error:  # whatever a GPU does: the other checks tell more
            document.add(name, Gate(f"{type(error).__name__}: {first_line(error)}", False, {}))
    missing = [f"not measured: row {cell}: {why}" for cell, why in document.unavailable.items()]
    missing += [f"not done, since time was up: {name}" for name in document.left_out]
    print("", harness.markdown(document.results), *missing, sep="\n")
    document.save()
    pasted = {"machine": harness.machine(), **document.content()}
    print("", "```json", json.dumps(pasted, default=str), "```", sep="\n")
    return 0 if all(gate.passed for gate in document.gates) else 1


def checks_of(given: argparse.Namespace, document: Document) -> dict[str, Callable[[float], Iterator[Gate]]]:
    """Return the checks by name, the soonest done first; each is called with the time at which it is to end.

    All that use the GPU do so in processes of their own: one that hangs is killed, and an error that leaves the GPU
    unusable for its process does not concern the others.
    """
    on_gpu, native = given.device == "cuda", native_precision(given.device)
    own = [*given.project, *([] if find_spec("matplotlib") else ["--set=evaluator.report=false"])]
    sized = [f"--project={shlex.join(own)}", *([f"--folder={given.folder}"] if given.folder else [])]
    sized += ["--device", "cuda", "--model", given.model] if on_gpu else ["--device", "cpu", *MINIATURE]
    eager = [*sized, "--compile", "off"]
    small = [*eager, *(["--images", "8", "--batch", "4"] if on_gpu else [])]
    precisions = sorted({"fp32", "fp16", native}) if on_gpu else ["fp32"]
    many = ["--scopes", "model", "metrics+annotations", "--precisions", native]
    many += ["--images", "2048", "--repeats", "2"] if on_gpu else []
    side = 1024 if on_gpu else 128
    checks: dict[str, Callable[[float], Iterator[Gate]]] = {
        "SAM2's own image predictor": lambda ends: gates_of([*small, "--precisions", *precisions], ends),
        "YOLO's own predict": lambda ends: gates_of([*small, "--detector", "yolov8n", "--precisions", "fp32"], ends),
        "SAM2's own video predictor": lambda ends: alone(ends, clip_gate, given.device, side),
        "waiting for the GPU": lambda ends: alone(ends, waiting_gate, given.device, side),
        "images a second": lambda ends: speeds(
            [*eager, *many, "--gate_images", "0", "--rows", "2", "5", "6"], document, ends
        ),
    }
    if on_gpu:
        checks[COMPILED] = lambda ends: speeds([*sized, *many, "--rows", "5"], document, ends, ", compiled")
    return checks


def native_precision(device: str) -> str:
    """Return the precision that `--precision auto` takes on a device."""
    import torch

    return "bf16" if choose_precision("auto", torch.device(device)) == torch.bfloat16 else "fp32"


def alone(ends: float, check: Callable[..., Gate], *arguments: object) -> Iterator[Gate]:
    """Check one thing in a process of its own."""
    with rows.Process() as process:
        yield process(ends, check, *arguments)


def gates_of(options: Sequence[str], ends: float) -> Iterator[Gate]:
    """Check this project's masks, tables and files against those of other rows; see `benchmarks/throughput.py`."""
    given = throughput.arguments(options)
    with harness.workload(given) as work, rows.Rows(work, once=True, deadline=ends) as each:
        yield from throughput.checked(each, [5], given.precisions, min(given.gate_images, given.images))


def speeds(options: Sequence[str], document: Document, ends: float, how: str = "") -> Iterator[Gate]:
    """Measure rows, after a check of this project's masks; the table names the rows with `how` they ran."""
    given, before = throughput.arguments(options), document.results
    with harness.workload(given) as work, rows.Rows(work, deadline=ends) as each:
        yield from throughput.checked(each, [5], given.precisions, min(given.gate_images, given.images))
        for passes, warm_up in throughput.measured(each, given, time.perf_counter(), document.unavailable):
            lines = throughput.summary(passes, warm_up, given.boxes)
            document.results = [*before, *({**line, "row": f"{line['row']}{how}"} for line in lines)]
            document.save()


def clip_gate(device: str, side: int) -> Gate:
    """Compare tracks through a clip with those of SAM2's video predictor on the same random weights, in fp32."""
    import torch
    from sam2 import sam2_video_predictor
    from sam2.build_sam import build_sam2_video_predictor

    from models.sam2_build import build_sam2
    from models.sam2_video import Propagator
    from models.segmenter import preprocess

    torch.manual_seed(0)
    config, where = "configs/sam2.1/sam2.1_hiera_t.yaml", torch.device(device)
    model: Any = build_sam2(config, side, video=True).to(where)
    official = build_sam2_video_predictor(config, device=device, hydra_overrides_extra=[f"++model.image_size={side}"])
    official.fill_hole_area = 0  # which only SAM2's CUDA extension does, and this project does not
    official.load_state_dict(model.state_dict())
    scene = paint_scene(3, 0).image
    frames = [np.ascontiguousarray(np.roll(scene, 4 * i, axis=1)) for i in range(FRAMES)]
    height, width = scene.shape[:2]
    shares = np.array([[0.1, 0.1, 0.4, 0.5], [0.5, 0.4, 0.9, 0.9], [0.2, 0.5, 0.5, 0.8]], np.float32)
    boxes = dict(enumerate(shares * np.array([width, height] * 2, np.float32)))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        pixels = preprocess(frames, side, where)
        load, sam2_video_predictor.load_video_frames = (
            sam2_video_predictor.load_video_frames,
            lambda **_: (pixels, height, width),
        )
        try:
            state = official.init_state("frames")
        finally:
            sam2_video_predictor.load_video_frames = load
        for track_id, box in boxes.items():
            official.add_new_points_or_box(state, 0, track_id, box=box)
        theirs = {i: (logits[:, 0] > 0).cpu().numpy() for i, _, logits in official.propagate_in_video(state)}
        propagator = Propagator(model, torch.float32)
        propagator.reset((height, width), FRAMES)
        equal = []
        for i, backbone in enumerate(propagator.encode(frames)):
            found = propagator.step(i, backbone) or propagator.add_boxes(boxes)
            ours = [found[track_id][0].to_full((height, width)) for track_id in boxes]
            equal += [float((a == b).mean()) for a, b in zip(ours, theirs[i], strict=True)]
    numbers = {"masks": len(equal), "equal pixels": float(np.mean(equal)), "least": min(equal)}
    return Gate("masks of tracks are equal in 99.99 % of the pixels", numbers["equal pixels"] >= 0.9999, numbers)


def waiting_gate(device: str, side: int) -> Gate:
    """Count how often the host waits for the GPU while it launches a batch."""
    import torch

    from models.sam2_build import build_sam2
    from models.sam2_prepare import simplify
    from models.segmenter import Segmenter

    model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", side).to(device)
    simplify(model)
    segmenter = Segmenter(model, torch.float32, 2**30)
    images = [paint_scene(3, i).image for i in range(2)]
    boxes = [np.array([[10, 10, 80, 80], [20, 30, 90, 60]], np.float32)] * 2
    segmenter(images, boxes)  # what is made once may wait
    with noted_waits(device) as waits:
        pending = segmenter.launch(images, boxes)
    segmenter.collect(pending)
    return Gate("the host does not wait while it launches a batch", not waits, {"times": len(waits)})


@contextlib.contextmanager
def noted_waits(device: str) -> Iterator[list[str]]:
    """Yield a list that gets, at the end of a `with` block, what torch said of each wait for the GPU in it."""
    import torch

    waits: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")  # which itself warns of not detecting "all synchronizing operations"
        try:
            yield waits
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    waits += [str(each.message) for each in caught if "called a synchronizing" in str(each.message)]


if __name__ == "__main__":
    sys.exit(main())
