"""The cart-pole swing-up of PILCO and PIPPS, `CartPoleSwingUp-v0`."""
