"""Model-free baselines: Stable-Baselines3's own algorithms on the same task, with the same test of success.

`python -m mbrl_agent.study baseline --help` runs them. A run has the files of a run of `train.py`
(config.yaml, progress.csv, TensorBoard events), so that `study compare` draws both together.
"""
