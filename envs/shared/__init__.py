"""What the plants share: arrays of any kind, the integrator, noise, environments, drawing."""
