"""Classes of the user's own in checkpoints: whose they were, and never mistaken for another."""

import enum
import io
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.agent.choice_data import decode_value, encode_value
from mbrl_agent.dynamics.base import DynamicsOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.files.archive import CheckpointError
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import Gaussian, Interpolated, Resampler
from mbrl_agent.resampling.base import equal_weights
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.types import Resampled
from tests.support.point_mass import STEPS, limited

OPTIONS = {
    "dynamics": Ensemble(members=2, hidden=(8,), fit_steps=2),
    "search": SearchOptions(steps=1, num_particles=12, candidates=2),
    "seed": 3,
    "gradient_probe": 0,
}


def make(policy: Any = "LinearPolicy", **options: Any) -> ParticlePILCO:
    return ParticlePILCO(policy, limited(), **OPTIONS | options)


def saved(agent: ParticlePILCO) -> io.BytesIO:
    file = io.BytesIO()
    agent.save(file)
    return file


def own_strategy(called: str) -> type[Resampler]:
    """A class that is defined in a function, with an option that has no default and a derived one."""

    @dataclass(frozen=True)
    class Own(Resampler):
        name: ClassVar[str] = called
        mixes_particles: ClassVar[bool] = True
        shifts: tuple[tuple[float, ...], ...]
        table: dict
        count: int = field(init=False, default=7)

        def __call__(self, prediction, particles, noise, state):
            return Resampled(particles, equal_weights(particles))

    return Own


class LikeGaussian(Gaussian):
    """Inherits its name and, as it has no options of its own, needs no decorator."""


@dataclass(frozen=True)
class LikeInterpolated(Interpolated):
    extra: float = 1.0


@dataclass(frozen=True)
class OwnEstimator(Reparameterization):
    name: ClassVar[str] = "own"


@dataclass(frozen=True)
class OwnModel(Ensemble):
    name: ClassVar[str] = "own"
    gain: float = 1.0


class OwnPolicy(LinearPolicy):
    def __init__(self, *args, sizes, scale=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.sizes, self.scale = sizes, scale


def named_like_the_packages() -> type[LinearPolicy]:
    class RbfPolicy(LinearPolicy):
        pass

    return RbfPolicy


TABLE = {"a": [1, 2.5, None], "b": {"c": (1, (2, "x"))}}
CASES = {
    "a strategy": ("resampling", lambda: own_strategy("mine")(((0.5, 1.0), ()), TABLE)),
    "named like the package's": ("resampling", lambda: own_strategy("gaussian")(((0.5,),), TABLE)),
    "undecorated": ("resampling", LikeGaussian),
    "a name inherited": ("resampling", lambda: LikeInterpolated(ratio=0.25, extra=2.0)),
    "NumPy numbers": ("resampling", lambda: LikeInterpolated(ratio=np.float64(0.25), extra=np.float32(2.0))),
    "an estimator": ("estimator", OwnEstimator),
    "a model": ("dynamics", lambda: OwnModel(members=2, hidden=(8, 4), fit_steps=2, gain=0.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_choice_of_the_users_own_comes_back_and_goes_on(case):
    key, build = CASES[case]
    choice = build()
    agent = make(**{key: choice}).learn(STEPS)
    file = saved(agent)
    loaded = ParticlePILCO.load(file, env=limited(), custom_objects={key: type(choice)})
    found = loaded.dynamics_options if key == "dynamics" else getattr(loaded, key)
    assert type(found) is type(choice)
    assert found == choice
    assert saved(loaded).getvalue() == file.getvalue()
    loaded.learn(STEPS, reset_num_timesteps=False)
    agent.learn(STEPS, reset_num_timesteps=False)
    assert saved(loaded).getvalue() == saved(agent).getvalue()


@pytest.mark.parametrize("case", CASES)
def test_without_its_class_it_is_not_loaded(case):
    key, build = CASES[case]
    choice = build()
    with pytest.raises(ValueError, match=rf"pass its class, custom_objects={{'{key}': ...}}") as error:
        ParticlePILCO.load(saved(make(**{key: choice})))
    assert f"{type(choice).__module__}.{type(choice).__qualname__}" in str(error.value)
    assert not isinstance(error.value, CheckpointError)  # nothing is wrong with the file


@pytest.mark.parametrize("key", ["policy", "policy_class"])
@pytest.mark.parametrize("cls", [OwnPolicy, named_like_the_packages()])
def test_a_policy_of_the_users_own_comes_back(key, cls):
    kwargs = {"sizes": (np.int64(3), [4, (5,)]), "scale": np.float32(0.5)} if cls is OwnPolicy else {}
    agent = make(cls, policy_kwargs=kwargs)
    with pytest.raises(ValueError, match=r"policy .*pass its class, custom_objects={'policy_class': ...}"):
        ParticlePILCO.load(saved(agent))
    loaded = ParticlePILCO.load(saved(agent), custom_objects={key: cls})
    assert type(loaded.policy) is cls
    assert loaded.policy_kwargs == ({"sizes": (3, [4, (5,)]), "scale": 0.5} if kwargs else {})
    assert saved(loaded).getvalue() == saved(agent).getvalue()


def test_an_alias_of_an_agents_subclass():
    class Agent(ParticlePILCO):
        policy_aliases: ClassVar = {**ParticlePILCO.policy_aliases, "RbfPolicy": OwnPolicy}

    agent = Agent("RbfPolicy", limited(), policy_kwargs={"sizes": 3}, **OPTIONS)
    assert type(Agent.load(saved(agent)).policy) is OwnPolicy
    with pytest.raises(ValueError, match=r"'OwnPolicy' is not the package's .* pass its class"):
        ParticlePILCO.load(saved(agent))
    assert type(Agent.load(saved(make("RbfPolicy"))).policy) is RbfPolicy  # the package's, as the file says


@pytest.mark.parametrize(
    ("custom_objects", "error", "message"),
    [
        ({"resampling": own_strategy("gaussian")}, ValueError, r"the package's own 'gaussian'.* take"),
        ({"policy": OwnPolicy}, ValueError, r"policy is the package's own 'LinearPolicy'"),
        ({"resampling": Gaussian}, ValueError, r"resampling is the package's own"),
        ({"resampling": Reparameterization}, TypeError, r"must be a subclass of Resampler, got mbrl_"),
        ({"resampling": LikeGaussian()}, TypeError, r"must be a subclass of Resampler, .* not a class"),
        ({"policy": torch.nn.Linear}, TypeError, r"must be a subclass of SearchPolicy"),
        ({"strategy": LikeGaussian}, ValueError, r"the key 'strategy', but .*resampling, estim"),
        ({"policy": OwnPolicy, "policy_class": OwnPolicy}, ValueError, r"both 'policy' and 'policy_class'"),
        ([LikeGaussian], TypeError, r"custom_objects must be a dict, got list"),
    ],
)  # fmt: skip
def test_custom_objects_that_do_not_fit(custom_objects, error, message):
    with pytest.raises(error, match=message):
        ParticlePILCO.load(saved(make()), custom_objects=custom_objects)


def test_one_class_of_the_users_is_not_mistaken_for_another():
    file = saved(make(resampling=LikeGaussian()))
    with pytest.raises(ValueError, match=r"LikeGaussian.*: pass its class.*, not mbrl_agent.*Gaussian$"):
        ParticlePILCO.load(file, custom_objects={"resampling": Gaussian})
    with pytest.raises(ValueError, match=r"LikeGaussian.*: pass its class.*, not .*LikeInterpolated$"):
        ParticlePILCO.load(file, custom_objects={"resampling": LikeInterpolated})


def test_a_class_may_have_moved():
    """Run as a script its module is `__main__`, imported it has another name."""
    file = saved(make(resampling=own_strategy("mine")((), {})))
    moved = own_strategy("mine")
    moved.__module__, moved.__qualname__ = "elsewhere", "Own"
    assert type(ParticlePILCO.load(file, custom_objects={"resampling": moved}).resampling) is moved


def test_options_that_do_not_fit_the_class_any_more():
    file = saved(make(resampling=LikeInterpolated(extra=2.0)))

    @dataclass(frozen=True)
    class LikeInterpolatedOnce(Interpolated):
        other: float = 1.0

    with pytest.raises(CheckpointError, match=r"do not fit together: .*unexpected keyword argument 'extra'"):
        ParticlePILCO.load(file, custom_objects={"resampling": LikeInterpolatedOnce})


# what cannot be saved --------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value", [torch.ones(2), np.ones(2), Colour.RED, {1: 2}, {3}, b"x", 1j, len], ids=repr
)
def test_options_that_no_file_can_hold(value):
    agent = make(resampling=LikeInterpolated(extra=(value,)))
    with pytest.raises(
        TypeError, match=r"extra of resampling 'interpolated'\[0\] is .*cannot be saved: only"
    ):
        saved(agent)
    agent = make(OwnPolicy, policy_kwargs={"sizes": [value]})
    with pytest.raises(TypeError, match=r"policy_kwargs\['sizes'\]\[0\] is .*cannot be saved: only"):
        saved(agent)


def test_an_option_that_contains_itself():
    endless: list = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"nested deeper than 30 levels, or contains itself"):
        saved(make(resampling=LikeInterpolated(extra=endless)))


@pytest.mark.parametrize(
    "value", [(), [], {}, (1, [2, (3,)]), {"tuple": [1]}, {"dict": {"dict": ()}}, 1.5, "x", None]
)
def test_values_come_back(value):
    assert decode_value(encode_value(value, "x")) == value


@pytest.mark.parametrize("data", [{}, {"tuple": 1}, {"dict": []}, {"tuple": [], "dict": {}}, [{"a": 1}]])
def test_data_that_is_no_value(data):
    with pytest.raises(ValueError, match=r"is not a value of an option"):
        decode_value(data)


# classes that could not be made again ----------------------------------------------------------------------


class Nameless(Resampler):
    mixes_particles: ClassVar[bool] = False

    def __call__(self, prediction, particles, noise, state):
        return Resampled(particles, equal_weights(particles))


class NamelessModel(DynamicsOptions):
    def build(self, features, action_dims, generator):
        raise NotImplementedError


class NamelessEstimator(Estimator):
    def __call__(self, parameters, simulation):
        raise NotImplementedError


class Undecided(Resampler):
    name: ClassVar[str] = "undecided"

    def __call__(self, prediction, particles, noise, state):
        return Resampled(particles, equal_weights(particles))


@dataclass(frozen=True)
class NamedByAnOption(Undecided):
    name: str = "named"  # type: ignore[misc]
    mixes_particles: ClassVar[bool] = False


class WithInit(Gaussian):
    def __init__(self, strength):
        super().__init__()


class Undecorated(Gaussian):
    strength: float = 1.0


@dataclass(frozen=True, init=False)
class OwnInit(Gaussian):
    def __init__(self, strength):
        object.__setattr__(self, "moments", "both")


class Numbered(Gaussian):
    name = 3


@pytest.mark.parametrize(
    ("key", "choice", "message"),
    [
        ("resampling", Nameless(), r"resampling Nameless has no class attribute 'name': declare"),
        ("dynamics", NamelessModel(), r"dynamics NamelessModel has no class attribute 'name'"),
        ("estimator", NamelessEstimator(), r"estimator NamelessEstimator has no class attribute 'name'"),
        ("resampling", NamedByAnOption(), r"declares 'name' as an option, .*: declare `name: ClassVar"),
        ("resampling", Undecided(), r"resampling Undecided has no class attribute 'mixes_particles'"),
        ("resampling", WithInit(1.0), r"resampling WithInit must be a dataclass"),
        ("resampling", Undecorated(), r"resampling Undecorated must be a dataclass"),
        ("resampling", OwnInit(1.0), r"resampling OwnInit must be a dataclass"),
        ("resampling", Numbered(), r"'name' of resampling Numbered must be text"),
        ("resampling", LikeGaussian, r"or an instance of Resampler, not the class: write LikeGaussian\(\)"),
    ],
)  # fmt: skip
def test_it_is_said_when_the_agent_is_built(key, choice, message):
    with pytest.raises(TypeError, match=message):
        make(**{key: choice})


def test_a_configuration_names_no_class_of_the_users():
    config = TrainConfig(resampling=LikeGaussian())
    with pytest.raises(
        ValueError, match=r"resampling LikeGaussian is a class of your own, .*pass it to Part"
    ):
        config.to_dict()
