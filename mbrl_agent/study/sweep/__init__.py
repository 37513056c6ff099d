"""Sweeps: every strategy, and every value of any option, with every seed, each a run in its own directory.

command.py       the command line; what was asked goes to sweep.yaml (request.py)
grid.py          what is compared: every combination of the values of the options
cells.py         a cell: configuration, directory, how far it is
scheduler.py     which cell is started next, and what becomes of one that ends
engine.py        the interface of what runs cells: local.py (processes), ray_engine.py (a Ray cluster)
cell_process.py  one attempt at a cell, the same for every engine; it starts cell.py
table.py         what a person sees
"""
