"""Is this project right, and how fast, on this GPU? One command, at most ten minutes; paste what it prints in an issue.

python -m benchmarks.gpu_check                    SAM2.1 tiny
python -m benchmarks.gpu_check --model large

First correctness: masks against SAM2's own predictors in fp32, bf16 and fp16, also compiled; boxes against YOLO's own
`predict`; tracks against SAM2's video predictor; and whether the host waits for the GPU while it fills its queue. Then
images a second. Without a GPU the same is done in miniature on the CPU, which only shows that the checks run.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks import harness, throughput
from benchmarks.harness import Gate
from benchmarks.rows import Rows
from datasets.scenes import paint_scene
from utils.errors import first_line

MINUTES = 9.0  # after which no further check begins
MINIATURE = [
    *("--model", "demo", "--image_size", "64", "--size", "160x90", "--boxes", "3"),
    *("--images", "2", "--repeats", "1", "--seconds", "0.01"),
]
FRAMES = 9  # more than a memory holds


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checks, print a table and the document; return 0, or 1 if one failed."""
    parser = harness.parser_of("gpu_check", __doc__)
    parser.add_argument("--model", choices=harness.MODELS, default="tiny", help="SAM2.1's architecture (tiny)")
    given, began = parser.parse_args(argv), time.perf_counter()
    on_gpu = given.device == "cuda"
    print(harness.heading(), flush=True)
    if not on_gpu:
        print("There is no GPU that torch can use: this only shows that the checks run.")
    sized = [*MINIATURE, "--device", "cpu"] if not on_gpu else ["--device", "cuda", "--model", given.model]
    small = sized if not on_gpu else [*sized, "--images", "8", "--batch", "4"]
    all_three = ["--precisions", "fp32", "bf16", "fp16"] if on_gpu else ["--precisions", "fp32"]
    checks: dict[str, Callable[[], Iterator[Gate]]] = {
        "SAM2's own image predictor": lambda: gates_of([*small, *all_three]),
        "YOLO's own predict": lambda: gates_of([*small, "--detector", "yolov8n", "--precisions", "fp32"]),
        "SAM2's own video predictor": lambda: iter([clip_gate(given.device, 1024 if on_gpu else 128)]),
        "waiting for the GPU": lambda: iter([waiting_gate(given.device, 1024 if on_gpu else 128)]),
    }
    if on_gpu:
        compiled = [*small, "--precisions", "fp32", "bf16", "--compile", "default"]
        checks["SAM2's own image predictor, compiled"] = lambda: gates_of(compiled)
    gates, lines, left_out = list[Gate](), list[dict[str, Any]](), list[str]()
    for name, check in checks.items():
        if time.perf_counter() - began > 60 * MINUTES:
            left_out.append(name)
            continue
        try:
            found = list(check())
        except Exception as error:  # whatever a GPU does: the other checks tell more
            found = [Gate(f"{type(error).__name__}: {first_line(error)}", False, {})]
        for gate in found:
            gates.append(Gate(f"{name}: {gate.name}", gate.passed, gate.numbers))
            print(gates[-1], flush=True)
    left = MINUTES - (time.perf_counter() - began) / 60
    if left > 1 or not on_gpu:
        lines = speeds([*sized, *(["--images", "256", "--minutes", f"{left - 1:.1f}"] if on_gpu else [])])
    else:
        left_out.append("images a second")
    print("", harness.markdown(lines), *(f"left out, since time was up: {name}" for name in left_out), sep="\n")
    document = {"machine": harness.machine(), "gates": [*map(asdict, gates)], "results": lines, "left_out": left_out}
    print("", "```json", json.dumps(document, default=str), "```", sep="\n")
    harness.write_json(given.json, **{name: each for name, each in document.items() if name != "machine"})
    return 0 if all(gate.passed for gate in gates) else 1


def gates_of(options: Sequence[str]) -> Iterator[Gate]:
    """Check this project's masks, tables and files against those of other rows; see `benchmarks/throughput.py`."""
    given = throughput.arguments(options)
    with harness.workload(given) as work, Rows(work) as rows:
        yield from throughput.checked(rows, [5], given.precisions, min(given.gate_images, given.images))


def speeds(options: Sequence[str]) -> list[dict[str, Any]]:
    """Measure the plain loop, this project and the bare forward in the precision that `auto` would take."""
    wanted = ["--rows", "2", "5", "6", "--scopes", "model", "metrics+annotations", "--precisions", "bf16"]
    given, lines = throughput.arguments([*wanted, *options]), list[dict[str, Any]]()
    with harness.workload(given) as work, Rows(work) as rows:
        for passes, warm_up in throughput.measured(rows, given, time.perf_counter(), {}):
            lines = throughput.summary(passes, warm_up, given.boxes)
    return lines


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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        pending = segmenter.launch(images, boxes)
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    segmenter.collect(pending)
    waits = [str(each.message) for each in caught if "synchroniz" in str(each.message)]
    return Gate("the host does not wait while it launches a batch", not waits, {"times": len(waits)})


if __name__ == "__main__":
    sys.exit(main())
