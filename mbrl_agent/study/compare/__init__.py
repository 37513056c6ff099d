"""Comparison of finished runs: learning curves, seconds of interaction until solved, wall clock.

`python -m mbrl_agent.study compare --help` runs it. It reads what runs have left on the disk and computes
nothing anew: runs of `train.py`, of `study baseline`, and Stable-Baselines3's `evaluations.npz`.
"""
