"""Studies of gradients: landscapes, predicted trajectories, bias, the paper's figures."""
