"""The gallery: what the agent learns on known tasks, and what it does not.

entries.py   the tasks: options of the runs, and the return that counts as learned
costs.py     their costs, and where their episodes end
command.py   the command line: trains every task with every seed, as a sweep does
report.py    the table, the figure of learning curves and the films of what was trained
"""
