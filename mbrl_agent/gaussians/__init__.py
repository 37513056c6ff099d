"""Fit, factorise and draw Gaussians and mixtures of them, with their derivatives."""
