"""Side-by-side measurements of this project and of what a user would otherwise run; README.md explains the rows.

harness -> demo (has the plain loop), processes -> rows -> throughput -> gpu_check; rows -> memory
        -> tracking
"""

from utils.cli.guard import packages_needed

with packages_needed():  # here, since `python -m` imports this file before any of the benchmarks
    import benchmarks.harness  # noqa: F401
