"""Images a second of this project beside what a user would otherwise run; see README.md for rows and scopes.

python -m benchmarks.throughput                              SAM2.1 tiny, 1080p, 10 boxes; on a CPU about 10 minutes
python -m benchmarks.throughput --model large --boxes skewed
python -m benchmarks.throughput --detector yolov8n           YOLOv8 finds the boxes
python -m benchmarks.throughput --json outputs/tiny.json
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import harness
from benchmarks.harness import Gate, Masks, say
from benchmarks.processes import Pass, one_pass
from benchmarks.rows import SCOPES, Rows, confusion, evidence

ROWS = {
    1: "plain loop, with rendering",
    2: "plain loop",
    3: "official set_image + predict",
    4: "Ultralytics auto_annotate",
    5: "this project",
    6: "bare encoder + decoder",
    7: "this project, OpenVINO",
}
VARYING = ("batch", "images", "seconds", "minutes", "gate_images", "compile", "scopes")  # their defaults by device:
CPU = dict(zip(VARYING, (2, 8, 10.0, 10.0, 2, "off", ["metrics+annotations", "overlays"])))
GPU = dict(zip(VARYING, (16, 1024, 3.0, 0.0, 8, "default", [*SCOPES])))
SWAPPED_IOU = 0.5  # below it, another of the decoder's masks was chosen: its stability switch is hard


class Cell(NamedTuple):
    """What is measured: a row in a precision, to the outputs of a scope."""

    row: int
    precision: str
    scope: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; return 0, or 1 if a gate failed."""
    given, began = arguments(argv), time.perf_counter()
    gates: list[Gate] = []
    lines: list[dict[str, Any]] = []
    unavailable: dict[str, str] = {}
    with harness.workload(given) as work, Rows(work) as rows:
        print(harness.heading(), flush=True)
        for gate in checked(rows, [5, *({7} & {*given.rows})], given.precisions, min(given.gate_images, given.images)):
            gates.append(gate)
            print(gate, flush=True)
        for passes, warm_up in measured(rows, given, began, unavailable):  # each round, since a run may be cut off
            lines = summary(passes, warm_up, None if given.detector else given.boxes)
            document = {"settings": vars(given), "gates": [*map(asdict, gates)], "unavailable": unavailable}
            harness.write_json(given.json, **document, results=lines)
    missing = [f"not measured: row {cell}: {why}" for cell, why in unavailable.items()]
    print("", harness.markdown(lines), *missing, sep="\n")
    return 0 if all(gate.passed for gate in gates) else 1


def cells(given: argparse.Namespace) -> Iterator[Cell]:
    """Yield what is measured, in the order of a round; rows 4 and 6 do one thing only.

    Ultralytics' one 16-bit precision is fp16, which a CPU has not.
    """
    low = [name for name in given.precisions if name != "fp32"][: given.device == "cuda"]
    for scope, outputs in SCOPES.items():
        for precision in given.precisions:
            for row in given.rows:
                renders = "visual" in outputs
                fits = {1: renders, 2: not renders, 3: not renders, 5: True, 7: given.device == "cpu"}.get(
                    row
                ) and scope in given.scopes
                once = row == 4 and scope == "annotations" and precision in (given.precisions[0], *low)
                if fits or once or (row == 6 and scope == "model"):
                    yield Cell(row, precision if row != 4 else "fp16" if precision in low else "fp32", scope)


def measured(
    rows: Rows, given: argparse.Namespace, began: float, unavailable: dict[str, str]
) -> Iterator[tuple[dict[Cell, list[Pass]], dict[Cell, float]]]:
    """Warm up every cell, then measure all of them in turn, round by round.

    A system that we compare with may fail, for want of memory for example; then it is left out, and why is noted.

    Yields:
        after each round, the passes of each cell so far, and the seconds of its warm-up.
    """
    counts, warm_up, passes = dict[Cell, int](), dict[Cell, float](), dict[Cell, list[Pass]]()
    for cell in cells(given):
        try:
            counts[cell], warm_up[cell] = warmed(rows, cell, given.seconds)
            say(f"warm: {cell}: {counts[cell]} images a pass")
        except RuntimeError as error:
            if cell.row == 5:
                raise
            unavailable[f"{cell.row}, {cell.precision}, {cell.scope}"] = str(error) or type(error).__name__
    for done in range(given.repeats):
        round_began = time.perf_counter()
        for cell, count in counts.items():
            passes.setdefault(cell, []).append(rows(cell.row, cell.precision, one_pass, cell.scope, count))
        yield passes, warm_up
        now = time.perf_counter()
        say(f"round {done + 1} of at most {given.repeats}: {now - round_began:.0f} s")
        if done and given.minutes and 2 * now - began - round_began > 60 * given.minutes:
            break


def warmed(rows: Rows, cell: Cell, seconds: float) -> tuple[int, float]:
    """Find out how many images make a pass of about so many seconds, which is the warm-up; return its seconds, too.

    Where they are more than a batch they are whole batches, so that shapes which a compiler has seen come again.
    """
    images, batch, count, warm_up = rows.work.images, rows.work.batch, 1, 0.0
    while True:
        tried = rows(cell.row, cell.precision, one_pass, cell.scope, count)
        warm_up += tried.seconds
        if count >= images or tried.seconds >= seconds / 4:
            break
        count = min(4 * count, images)
    fitting = max(1, min(images, round(seconds * tried.rate)))
    return fitting - fitting % batch if fitting > batch else fitting, warm_up


def summary(
    passes: Mapping[Cell, Sequence[Pass]], warm_up: Mapping[Cell, float], boxes: int | None = None
) -> list[dict[str, Any]]:
    """Return a line of the table for each cell; `x` and `of` divide its rate by those of rows that do the same work.

    Args:
        boxes: of each image, if it is a fixed number.
    """
    rates = {cell: harness.median_and_spread([one.rate for one in each]) for cell, each in passes.items()}
    lines = []
    for cell in sorted(passes, key=lambda cell: ([*SCOPES].index(cell.scope), cell.precision, cell.row)):
        (row, precision, scope), each, (rate, spread) = cell, passes[cell], rates[cell]
        loop = 1 if "visual" in SCOPES[scope] else 2
        others = {"x plain": Cell(loop, precision, scope), "x plain fp32": Cell(loop, "fp32", scope)}
        others |= {"x official": Cell(3, precision, scope), "x Ultralytics": Cell(4, "fp32", "annotations")}
        others |= {"of row 6": Cell(6, precision, "model")}
        ratios = {name: rate / rates[other][0] if other in rates else None for name, other in others.items()}
        if "annotate" not in SCOPES[scope]:
            ratios["x Ultralytics"] = None
        line = {"scope": scope, "row": f"{row} {ROWS[row]}", "precision": precision, "img/s": rate, "spread": spread}
        line["masks/s"] = None if boxes is None else rate * boxes
        line |= ratios | {"peak MiB": max(one.peak_rss for one in each) // harness.MIB}
        line |= {"CUDA MiB": max(one.peak_cuda for one in each) // harness.MIB or None}
        line |= {"CPU ms/img": statistics.median(1e3 * one.cpu_seconds / one.images for one in each)}
        lines.append({**line, "images x passes": f"{each[0].images} x {len(each)}", "warm-up s": warm_up[cell]})
    return lines


def checked(rows: Rows, ours: Sequence[int], precisions: Sequence[str], count: int) -> Iterator[Gate]:
    """Check what our rows find in the first `count` images, in the precisions that are measured."""
    if not count:
        return
    say(f"checking the results of {count} images")
    official = rows(3, "fp32", evidence, count)
    yield coverage_gate(official)
    for row, precision in itertools.product(ours, precisions):
        try:
            found = rows(row, precision, evidence, count)
        except RuntimeError:  # without OpenVINO; measuring says why
            if row == 5:
                raise
            continue
        loop = None if precision == "fp32" else rows(2, precision, evidence, count)
        for gate in gates(rows.work, row, precision, found, loop, official):
            yield replace(gate, name=f"row {row}, {gate.name}")


def gates(
    work: harness.Workload,
    row: int,
    precision: str,
    ours: Sequence[Masks],
    loop: Sequence[Masks] | None,
    official: Sequence[Masks],
) -> Iterator[Gate]:
    """Check the masks of a row, and the files that it wrote; in low precision against the plain loop's masks."""
    out, indices = work.out(row, precision), range(len(ours))
    yield exact_gate(ours, official) if loop is None else fair_gate(precision, ours, loop, official)
    yield matrix_gate(ours, [work.files(i)[1] for i in indices], out / "evaluator" / "confusion_matrix.csv")
    yield files_gate(ours, [out / "auto_mask" / f"{work.image_id(i)}.json" for i in indices])


def coverage_gate(official: Sequence[Masks]) -> Gate:
    """Check that the random weights give masks of a realistic size."""
    shares = [float(mask.mean()) for found in official for mask in found.masks > 0] or [math.nan]
    numbers = {"median": statistics.median(shares), "least": min(shares), "most": max(shares)}
    return Gate("masks cover 5 to 60 % of their images (median)", 0.05 <= numbers["median"] <= 0.6, numbers)


def differences(found: Sequence[Masks], reference: Sequence[Masks]) -> npt.NDArray[np.float64] | None:
    """Compare M masks with those of a reference; None if they are not of the same boxes.

    Returns:
        (2, M): the share of its image's pixels in which each differs, and its IoU; 1 where both are empty.
    """
    if [each.masks.shape for each in found] != [each.masks.shape for each in reference]:
        return None
    pairs = [(a > 0, b > 0) for ours, theirs in zip(found, reference) for a, b in zip(ours.masks, theirs.masks)]
    ious = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs]
    return np.array([[(a ^ b).mean() for a, b in pairs], ious])


def exact_gate(ours: Sequence[Masks], official: Sequence[Masks]) -> Gate:
    """Check that in fp32 our masks are the official predictor's, but for 1 % that may be swapped."""
    name, compared = "fp32: masks equal the official predictor's (row 3)", differences(ours, official)
    if compared is None:
        return Gate(f"{name}: other boxes", False, {})
    swapped = compared[1] < SWAPPED_IOU
    flipped, ious = compared[:, ~swapped]
    numbers = {"masks": len(ious), "least IoU": ious.min(initial=1), "most flipped": flipped.max(initial=0)}
    passed = numbers["least IoU"] >= 0.99 and numbers["most flipped"] <= 1e-4 and swapped.sum() <= 0.01 * len(ious)
    return Gate(name, bool(passed), {**numbers, "swapped": swapped.sum()})


def fair_gate(precision: str, ours: Sequence[Masks], loop: Sequence[Masks], official: Sequence[Masks]) -> Gate:
    """Check that in low precision our error against fp32 is no larger than the plain loop's.

    Two roundings of one sum are never equal: a tenth, and two standard errors of the difference, are allowed.
    """
    name = f"{precision}: our error against fp32 is no larger than the plain loop's"
    mine, theirs = differences(ours, official), differences(loop, official)
    if mine is None or theirs is None:
        return Gate(f"{name}: other boxes", False, {})
    swapped, plain_swapped = mine[1] < SWAPPED_IOU, theirs[1] < SWAPPED_IOU
    kept = ~(swapped | plain_swapped)
    flipped, plain = (each[0, kept].sum() / max(1, kept.sum()) for each in (mine, theirs))
    chance = 2 * (mine - theirs)[0, kept].std(ddof=1) / math.sqrt(kept.sum()) if kept.sum() > 1 else 0.0
    few_swaps = swapped.sum() - plain_swapped.sum() <= math.ceil(0.01 * kept.sum())
    numbers = {"masks": kept.sum(), "flipped": flipped, "plain flipped": plain, "chance": chance}
    numbers |= {"swapped": swapped.sum(), "plain swapped": plain_swapped.sum()}
    return Gate(name, bool(flipped - plain <= 0.1 * plain + chance and few_swaps), numbers)


def matrix_gate(ours: Sequence[Masks], targets: Sequence[Path], file: Path) -> Gate:
    """Check that our confusion matrix is what the plain loop counts from the same masks."""
    written = np.array([line.split(",")[1:] for line in file.read_text().splitlines()[1:]], np.int64)
    counted = [confusion(found, np.array(Image.open(path)), len(written)) for found, path in zip(ours, targets)]
    matrix = np.sum(counted, axis=0)
    numbers = {"pixels": matrix.sum(), "pixels counted otherwise": abs(matrix - written).sum() / 2}
    return Gate("confusion matrices are equal for equal masks", bool((matrix == written).all()), numbers)


def files_gate(ours: Sequence[Masks], files: Sequence[Path]) -> Gate:
    """Check that the masks in our annotation files, decoded by PIL, are our masks; empty ones have none."""
    expected, decoded = [mask > 0 for found in ours for mask in found.masks if mask.any()], []
    for content in (json.loads(path.read_text()) for path in files):
        for shape in content["shapes"]:
            (left, top), (right, bottom) = shape["points"]
            mask = np.zeros((content["imageHeight"], content["imageWidth"]), bool)
            png = io.BytesIO(base64.b64decode(shape["mask"]))
            mask[top : bottom + 1, left : right + 1] = np.array(Image.open(png)) > 0
            decoded.append(mask)
    unequal = sum(not np.array_equal(a, b) for a, b in zip(expected, decoded))
    numbers = {"masks": len(expected), "decoded": len(decoded), "unequal": unequal}
    passed = unequal == 0 and len(expected) == len(decoded)
    return Gate("decoded PNGs of annotations are equal to the masks", passed, numbers)


def box_count(text: str) -> int | None:
    return None if text == "skewed" else int(text)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options; what is not given depends on the device."""
    parser = harness.parser_of("throughput", __doc__)
    parser.epilog = "Defaults not named here depend on the device; README.md has them."
    add = parser.add_argument
    add("--size", type=harness.size_of, default=(1920, 1080), metavar="WxH", help="of the images (1920x1080)")
    add("--boxes", type=box_count, default=10, metavar="N", help="boxes per image, or skewed (default: %(default)s)")
    add("--detector", metavar="NAME", help="yolov8n, ...: YOLO finds the boxes, at most --boxes per image")
    add("--images", type=int, metavar="N", help="images at hand")
    add("--batch", type=int, metavar="N", help="images per batch")
    add("--rows", type=int, nargs="+", choices=ROWS, default=[*ROWS], help="all by default")
    add("--scopes", nargs="+", choices=SCOPES)
    add("--precisions", nargs="+", choices=("fp32", "bf16", "fp16"), default=["fp32", "bf16"])
    add("--repeats", type=int, default=5, help="rounds at most (default: %(default)s)")
    add("--seconds", type=float, help="about how long a pass takes")
    add("--minutes", type=float, help="no third or later round that would end after so many; 0: no limit")
    add("--gate_images", type=int, metavar="N", help="images whose results are checked; 0: none")
    add("--compile", metavar="MODE", help="rows 5, 6: off; else row 6's mode: default, reduce-overhead, max-autotune")
    parser.set_defaults(**(GPU if parser.parse_args(argv).device == "cuda" else CPU))
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
