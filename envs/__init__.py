"""Gymnasium environments; importing this package registers them (`CartPoleSwingUp-v0`)."""

import gymnasium

gymnasium.register(
    id="CartPoleSwingUp-v0",
    entry_point="envs.cartpole_swingup:CartPoleSwingUpEnv",
    vector_entry_point="envs.cartpole_vector:CartPoleSwingUpVectorEnv",
    max_episode_steps=30,
)
