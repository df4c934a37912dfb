"""Side-by-side measurements of this project and of what a user would otherwise run; README.md explains the rows.

harness -> demo (has the plain loop) -> rows -> throughput, memory
        -> tracking
"""
