"""Compare evaluations of the same images: which run is better, by how much, and how sure that is.

python -m utils.evaluation.compare RUN_A RUN_B            folders of evaluations, of one split
python -m utils.evaluation.compare RUN_A RUN_B RUN_C      each later run is compared with the first
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from utils.cli.guard import guarded, packages_needed

with packages_needed():
    import numpy as np

    from utils.evaluation.console import drawn_text, framed
    from utils.evaluation.files import tex_escape, tex_table
    from utils.evaluation.saved import check_alike, read_run
    from utils.io.encoding import encode_table
    from utils.io.terminal import counted, say
    from utils.io.writers import atomic_write
    from utils.metrics.bootstrap import sum_by_unit
    from utils.metrics.paired import MEAN_IOU, Difference, compare, sentence
    from utils.metrics.summary import LABEL_MEASURES, interval, percent

PAGE, TABLE, TEX = "compare.html", "compare.csv", "compare.tex"

COLUMNS = (
    "run",
    "compared_with",
    "measure",
    "class",
    "before",
    "after",
    "gain",
    "gain_95_low",
    "gain_95_high",
    "clear",
)

FEW = 100
"""With fewer images or clips, intervals are too narrow: on painted splits those of 50 images hold the truth in 90 %."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code.

    Raises:
        UserError: a folder holds no evaluation, or the runs are over different images, classes or targets.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="a folder with an evaluation; the first one is compared with")
    add("-o", "--output", type=Path, default=Path("outputs/comparison"), metavar="DIR", help="where the files go")
    add("--images", type=int, default=50, metavar="N", help="images of the report, those that changed most (50)")
    add("--units", choices=("clips", "images"), default="clips", help="what is drawn as a whole: a clip, or each image")
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        parser.error("name two runs or more")
    runs = [read_run(folder) for folder in arguments.runs]
    check_alike(runs)
    names = short_names([run.folder for run in runs])
    counts = np.stack([run.counts for run in runs], axis=1)  # (N, runs, 2, 3, L)
    units = sum_by_unit(runs[0].image_ids, counts) if arguments.units == "clips" else counts.astype(np.float64)
    tables = [compare(units[:, [0, i]]) for i in range(1, len(runs))]
    lines = [sentence(table[0], (names[0], name)) for table, name in zip(tables, names[1:])]
    from utils.evaluation.report.compare_page import render

    files = {
        TABLE: encode_table(COLUMNS, rows(tables, names, runs[0].names)),
        TEX: tex(tables, names, runs[0].names),
        PAGE: render(runs, names, tables, lines, arguments.images),
    }
    for name, content in files.items():
        atomic_write(arguments.output / name, content)
    for table, name in zip(tables, names[1:]):
        say([*framed(*console_table(table, (names[0], name), runs[0].names), left=[0])])
    say([*remarks(len(runs[0].image_ids), len(units)), f"report: {arguments.output / PAGE}", *lines])
    return 0


def short_names(folders: Sequence[Path]) -> list[str]:
    """Name runs by as few of the last parts of their paths as tell them apart; twins get numbers."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    paths = [path.parent if path.name == "evaluation" else path for path in paths]
    longest = max(len(path.parts) for path in paths)
    for parts in range(1, longest + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len({*names}) == len(names):
            return names
    return [f"{path.name} {number}" for path, number in zip(paths, count(1))]


def remarks(num_images: int, num_units: int) -> Iterator[str]:
    """Say what was drawn, and where there was too little of it."""
    yield f"compared over {counted(num_images, 'image')}; {drawn_text(num_units, num_images)}"
    if 1 < num_units < FEW:
        yield f"{num_units} are few: intervals hold the truth less often than in 95 %"
    yield "of 20 intervals of measures that do not differ, one leaves out 0 by chance"


def rows(
    tables: Sequence[Sequence[Difference]], names: Sequence[str], labels: Sequence[str]
) -> Iterator[dict[str, str | float | int]]:
    """Yield the rows of `compare.csv`, in shares of 1."""
    for table, name in zip(tables, names[1:]):
        for each in table:
            numbers = each.before, each.after, each.gain, *each.limits
            texts = ["" if np.isnan(number) else round(number, 6) for number in numbers]
            label = "" if each.label is None else labels[each.label]
            yield dict(zip(COLUMNS, (name, names[0], each.key, label, *texts, int(each.is_clear))))


def console_table(
    table: Sequence[Difference], names: Sequence[str], labels: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the main measures and the IoU of each class in percent; `*` marks what is clear."""
    names_of = {MEAN_IOU: "Mean IoU", "pixel_accuracy": "Pixel accuracy"}
    names_of |= {f"mean_{key}": f"Mean {each.heading}" for key, each in LABEL_MEASURES.items()}
    of_split = [(names_of[each.key], each) for each in table if each.label is None and each.key in names_of]
    of_labels = [(labels[each.label], each) for each in table if each.label is not None and each.key == "iou"]
    body = []
    for name, each in (*of_split, *of_labels):
        gain, limits = percent(each.gain, sign="+"), interval(each.limits, "+")
        body.append([name, percent(each.before), percent(each.after), gain, limits, "*" if each.is_clear else ""])
    return ["", *names, "Gain", "95 % interval", ""], body


def tex(tables: Sequence[Sequence[Difference]], names: Sequence[str], labels: Sequence[str]) -> bytes:
    """Encode `compare.tex`: the mean IoU and the IoU of each class, in percent, and the gains."""
    first, *_ = tables
    before, *others = map(tex_escape, names)
    heads = ["Class", before, *(head for name in others for head in (name, "gain", r"95\,\% interval"))]
    rows = []
    for i in (i for i, each in enumerate(first) if each.key in (MEAN_IOU, "iou")):
        label = first[i].label
        cells = ["mean" if label is None else tex_escape(labels[label]), percent(first[i].before)]
        for table in tables:
            after, gain = percent(table[i].after), percent(table[i].gain, sign="+")
            limits = "[{}, {}]".format(*(percent(limit, 1, "+") for limit in table[i].limits))
            cells += [after, gain, "-" if np.isnan(table[i].limits[0]) else limits]
        rows.append(cells)
    return tex_table(heads, rows[1:], rows[:1])  # the mean, which is the first measure, comes last


if __name__ == "__main__":
    sys.exit(guarded(main))
