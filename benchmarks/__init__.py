"""Side-by-side measurements of this project and of what a user would otherwise run; README.md explains the rows.

    workload, random_weights -> rows (plain, project, limit) -> workers -> throughput, memory

Nothing in the product imports this package, and pytest does not collect it.
"""
