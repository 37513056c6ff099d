"""Sweeps: every resampling strategy with every seed, each an ordinary run in a directory of its own.

command.py       the command line; what was asked goes to sweep.yaml (request.py)
cells.py         a cell: configuration, directory, how far it is
scheduler.py     which cell is started next, and what becomes of one that ends
engine.py        the interface of what runs cells: local.py (processes), ray_engine.py (a Ray cluster)
cell_process.py  one attempt at a cell, the same for every engine; it starts cell.py
table.py         what a person sees
"""
