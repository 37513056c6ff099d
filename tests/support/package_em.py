"""The package's EM on clouds of any leading axes and in their own units, as the tests like to call it."""

from __future__ import annotations

import torch

from mbrl_agent.gaussians import clusters, em
from mbrl_agent.resampling import tangent
from tests.support.plain_mixture import MixtureFit


def standardise(particles):
    return em.standardise(particles.detach().reshape(-1, *particles.shape[-2:]))


def soft_clusters(particles, previous, components, iterations, shrinkage=clusters.SHRINKAGE):
    """log r_ik, (*R, K, P), of particles (*R, P, D)."""
    replicates, count = particles.shape[:-2], particles.shape[-2]
    previous = None if previous is None else previous.reshape(-1, components, count)
    out = clusters.soft_clusters(standardise(particles), previous, components, iterations, shrinkage)
    return out.view(*replicates, components, count)


def shrunk_covariance(fit, num_particles, shrinkage):
    """Covariances (K, D, D) of a single cloud."""
    matrix = clusters.shrinkage_matrix(fit.log_weights.unsqueeze(0), num_particles, shrinkage)
    return em.mixed(matrix, fit.scatter)


def projection_basis(particles, log_responsibilities):
    """The basis of a single cloud, and the jitter."""
    basis, jitter = tangent.projection_basis(standardise(particles), log_responsibilities.unsqueeze(0))
    return basis[0], jitter


def weighted_em(means, variances, log_sample_weights, init, iterations):
    """EM from any start, (*R, ...), in the samples' own units."""
    *replicates, count, D = means.shape
    K = init.mean.shape[-2]
    samples = em.standardise(means.reshape(-1, count, D), variances.sqrt().reshape(-1, count, D))
    scale, centre = samples.scale.unsqueeze(-2), samples.centre.unsqueeze(-2)  # (B, 1, D)
    square = scale.unsqueeze(-1) * scale.unsqueeze(-2)  # (B, 1, D, D)
    own = (init.scatter + torch.diag_embed(init.variance)).reshape(-1, K, D, D) / square
    covariance = torch.eye(D + 1, dtype=means.dtype).repeat(own.shape[0], K, 1, 1)
    covariance[..., :D, :D] = own
    covariance = covariance.flatten(0, 1)
    origin = torch.nn.functional.pad((init.mean.reshape(-1, K, D) - centre) / scale, (0, 1))
    centred = (samples.points - origin.unsqueeze(-1)).flatten(0, 1)
    log_mass = init.log_weights.reshape(-1, K)
    for _ in range(iterations):
        joint = em.expect(samples, log_mass, covariance, centred).log_joint
        log_masses = joint.log_softmax(-2) + log_sample_weights.reshape(-1, 1, count)
        share, log_mass = em.normalise(log_masses)
        moments = em.maximise(samples, share)
        covariance, centred = em.covariances(moments), moments.centred
    scatter = torch.bmm(moments.weighted, moments.centred.mT)[:, :D, :D].view(-1, K, D, D) * square
    parts = (
        log_mass.log_softmax(-1),
        centre + scale * moments.mean,
        scatter,
        moments.variance[..., :D] * scale.square(),
    )
    return MixtureFit(*(part.view(*replicates, *part.shape[1:]) for part in parts))
