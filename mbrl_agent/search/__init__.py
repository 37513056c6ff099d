"""Improve policies inside a model: rollouts, gradients, gradient steps; pure functions of tensors."""
