"""Two rods on a cart: `CartDoublePendulumSwingUp-v0`."""
