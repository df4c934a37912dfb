"""Images a second of this project beside what a user would otherwise run; see README.md for rows and scopes.

python -m benchmarks.throughput                              SAM2.1 tiny, 1080p, 10 boxes; on a CPU about 10 minutes
python -m benchmarks.throughput --model large --boxes skewed
python -m benchmarks.throughput --detector yolov8n           YOLOv8 finds the boxes
python -m benchmarks.throughput --json outputs/tiny.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from benchmarks.comparison import Comparison, folder_of, measured, say
from benchmarks.gates import Gate, coverage_gate, exact_gate, fair_gate, files_gate, matrix_gate
from benchmarks.report import Result, gate_line, heading, machine, result_document, table, write_json
from benchmarks.settings import parse
from benchmarks.workers import evidence
from benchmarks.workload import write_workload


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison; 0, or 1 if a gate failed."""
    settings = parse(__doc__, argv)
    began = time.perf_counter()
    gates: list[Gate] = []
    results: list[Result] = []
    with folder_of(settings.folder) as folder:
        say(f"painting {settings.order.images} images into {folder}")
        comparison = Comparison(settings, write_workload(settings.order, folder))
        with closing(comparison):
            print(heading(machine()), flush=True)
            for gate in checked(comparison):
                gates.append(gate)
                print(gate_line(gate), flush=True)
            for results in measured(comparison, began):
                if settings.json:  # after each round, so that a run that is cut off leaves what it found
                    write_json(settings.json, **document(comparison, gates, results))
    print("", *table(results), sep="\n")
    for cell, why in comparison.unavailable.items():
        print(f"not measured: row {cell}: {why}")
    return 0 if all(gate.passed for gate in gates) else 1


def document(comparison: Comparison, gates: Sequence[Gate], results: Sequence[Result]) -> dict[str, Any]:
    """What the JSON document holds besides machine, date and command."""
    return {
        "settings": asdict(comparison.settings),
        "gates": [asdict(gate) for gate in gates],
        "results": [result_document(each, results) for each in results],
        "unavailable": comparison.unavailable,
        "loading_seconds": comparison.loading,
    }


def checked(comparison: Comparison) -> Iterator[Gate]:
    """The parity gates, in the precisions that are measured."""
    settings, work = comparison.settings, comparison.work
    count = min(settings.gate_images, work.order.images)
    if not count:
        return
    say(f"checking the results of {count} images")
    official = comparison.worker(3, "fp32")(evidence, count).found
    yield coverage_gate(official)
    for precision in settings.precisions:
        ours = comparison.worker(5, precision)(evidence, count)
        if precision == "fp32":
            yield exact_gate(ours.found, official)
        else:
            loop = comparison.worker(2, precision)(evidence, count).found
            yield fair_gate(precision, ours.found, loop, official)
        yield matrix_gate(ours, [work.target(i) for i in range(count)], len(work.names) + 1)
        yield files_gate(ours)


if __name__ == "__main__":
    sys.exit(main())
