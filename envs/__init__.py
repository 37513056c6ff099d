"""Gymnasium environments; importing this package registers them."""

import gymnasium

for plant, folder, steps in (
    ("CartPole", "cartpole", 30),
    ("CartDoublePendulum", "cart_double_pendulum", 100),
    ("Pendubot", "double_pendulum", 60),
    ("Acrobot", "double_pendulum", 60),
):
    gymnasium.register(
        id=f"{plant}SwingUp-v0",
        entry_point=f"envs.{folder}.environment:{plant}SwingUpEnv",
        vector_entry_point=f"envs.{folder}.environment:{plant}SwingUpVectorEnv",
        max_episode_steps=steps,
    )
