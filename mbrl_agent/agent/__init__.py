"""ParticlePILCO as a Stable-Baselines3 algorithm: tasks, episodes, trials, what they log, saving."""
