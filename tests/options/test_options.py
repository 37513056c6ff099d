"""A choice and its spelling; the error of one option."""

import pickle
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl_agent.options import Choice, OptionError, OptionName, OptionTypeError, build, convert
from mbrl_agent.options.choice import name_values, split_spelling, to_spelling
from mbrl_agent.options.validation import require_count, require_fraction
from mbrl_agent.resampling import RESAMPLERS, Interpolated, Mixture
from mbrl_agent.run.config import CHOICES, TrainConfig
from tests.run.test_config_properties import few, instances, many

EVERY_CLASS = [(key, cls) for key, registry in CHOICES.items() for cls in registry.classes.values()]


@dataclass(frozen=True)
class Everything(Choice):
    """Options of every type."""

    name: ClassVar[str] = "everything"
    text: str = "a"
    """Text."""
    numbers: tuple[float, ...] = (1.0,)
    """Numbers."""
    names: tuple[str, ...] = ("a", "b")
    """Names."""
    maybe: int | None = 3
    """A number or none."""
    yes: bool = False
    """A switch."""
    kind: Literal["a=b", "c,d"] = "c,d"
    """One of two."""


def read(text):
    _, words = split_spelling(text)
    return build(Everything, "x", "x", name_values(Everything, "x", words))


# spelling --------------------------------------------------------------------------------------------------


@few
@given(data=st.data())
@pytest.mark.parametrize(("key", "cls"), EVERY_CLASS)
def test_the_spelling_of_every_class_gives_it_back(key, cls, data):
    instance = data.draw(instances(cls))
    assert CHOICES[key].resolve(str(instance)) == instance
    assert TrainConfig.from_dict({key: str(instance)}) == TrainConfig(**{key: instance})


@many
@given(
    text=st.text(max_size=8),
    numbers=st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
    names=st.lists(st.text("x%=:2C", min_size=1, max_size=4), max_size=3).map(tuple),
    maybe=st.none() | st.integers(-9, 9),
    yes=st.booleans(),
    kind=st.sampled_from(["a=b", "c,d"]),
)
def test_any_value_is_read_as_it_was_written(**values):
    instance = Everything(**values)
    assert read(str(instance)) == instance


def test_only_what_is_not_the_default_is_spelled():
    assert str(Mixture()) == "mixture"
    assert str(Mixture(em_iterations=5, components=2)) == "mixture:components=2,em-iterations=5"
    assert str(CHOICES["dynamics"].resolve("ensemble:7,hidden=64x32")) == "ensemble:members=7,hidden=64x32"
    assert str(CHOICES["policy"].resolve("mlp:hidden=")) == "mlp:hidden="
    assert f"{Interpolated(0.25)}" == "interpolated:ratio=0.25"


def test_a_class_of_the_users_own_is_spelled_too():
    @dataclass(frozen=True)
    class Mine(Choice):
        needed: int
        more: int = 1

    assert str(Mine(3)) == "Mine:needed=3"


@pytest.mark.parametrize(
    ("key", "text", "options"),
    [
        ("resampling", "interpolated:.25", {"ratio": 0.25}),
        ("resampling", "mixture:5,em-iterations=1", {"components": 5, "em_iterations": 1}),
        ("resampling", "mixture:5,em_iterations=1", {"components": 5, "em_iterations": 1}),
        ("dynamics", "ensemble:members=7,hidden=64x64", {"members": 7, "hidden": (64, 64)}),
        ("dynamics", "ensemble:hidden=9", {"hidden": (9,)}),
        ("policy", "mlp:8x8x8", {"hidden": (8, 8, 8)}),
        ("policy", "MlpPolicy:8", {"hidden": (8,)}),
        ("policy", "RbfPolicy:centers=30", {"centers": 30}),
    ],
)
def test_every_way_of_writing(key, text, options):
    instance = CHOICES[key].resolve(text)
    assert {name: getattr(instance, name) for name in options} == options


@pytest.mark.parametrize(
    ("key", "text", "path", "message"),
    [
        ("resampling", "gausian", ("resampling",), "did you mean 'gaussian'"),
        ("policy", "MlpPolicie", ("policy",), "did you mean 'MlpPolicy'"),
        ("resampling", "interpolated:2", ("resampling", "ratio"), "must be from 0 to 1, got 2.0 (in '"),
        ("resampling", "interpolated:x", ("resampling", "ratio"), "expected a number, got 'x'"),
        ("resampling", "interpolated:", ("resampling",), "cannot read ''"),
        ("resampling", "none:1", ("resampling",), "none has no options"),
        ("resampling", "mixture:3,components=4", ("resampling", "components"), "is given twice"),
        ("resampling", "mixture:ratio=4", ("resampling", "ratio"), "it belongs to: interpolated, liu-west"),
        ("resampling", "mixture:componets=4", ("resampling", "componets"), "did you mean components?"),
        ("dynamics", "ensemble:hidden=64,64", ("dynamics",), "lists as 64x64"),
        (
            "dynamics",
            "ensemble:hidden=64xx",
            ("dynamics", "hidden"),
            "expected a list, each item a whole number, got '64xx'",
        ),
        ("dynamics", "ensemble:hidden=", ("dynamics", "hidden"), "needs at least one layer"),
        ("resampling", "", ("resampling",), "unknown resampling ''"),
    ],
)
def test_what_cannot_be_read_names_the_option(key, text, path, message):
    with pytest.raises(OptionError) as caught:
        CHOICES[key].resolve(text)
    assert caught.value.path == path
    assert message in str(caught.value)


def test_a_class_instead_of_an_instance():
    with pytest.raises(TypeError, match=r"not the class: write Interpolated\(\)"):
        RESAMPLERS.resolve(Interpolated)


def test_lists_are_joined_by_commas_or_by_x():
    assert convert("64x32", tuple[int, ...]) == convert("64,32", tuple[int, ...]) == (64, 32)
    assert convert("maxx,x", tuple[str, ...]) == ("maxx", "x")
    assert to_spelling(("a", "b")) == "a%2Cb"


# errors ----------------------------------------------------------------------------------------------------


def test_a_check_raises_an_error_that_knows_the_option():
    with pytest.raises(OptionError, match=r"^steps must be at least 1, got 0$") as caught:
        require_count("steps", 0)
    assert (caught.value.path, caught.value.reason) == (("steps",), "must be at least 1, got 0")
    with pytest.raises(OptionTypeError, match=r"^steps must be a whole number"):
        require_count("steps", "3")
    with pytest.raises(OptionError, match=r"^ratio of a mixture must be from 0 to 1, got 2$") as caught:
        require_fraction(OptionName("ratio", "a mixture"), 2)
    assert caught.value.path == ("ratio",)


def test_an_error_of_the_wrong_type_is_a_type_error_and_any_is_a_value_error():
    assert issubclass(OptionTypeError, TypeError)
    assert issubclass(OptionTypeError, ValueError)


@pytest.mark.parametrize("kind", [OptionError, OptionTypeError])
def test_an_error_can_be_sent_to_another_process(kind):
    error = pickle.loads(pickle.dumps(kind(("a", "b"), "is wrong", "b of a")))
    assert (type(error), error.path, error.reason, str(error)) == (
        kind,
        ("a", "b"),
        "is wrong",
        "b of a is wrong",
    )


def test_the_words_of_a_message_do_not_decide_which_option_it_is():
    @dataclass(frozen=True)
    class Picky(Choice):
        """A class whose own message begins with the name of an option."""

        members: int = 1
        """A number."""

        def __post_init__(self):
            raise ValueError("members and meetings do not fit together")

    with pytest.raises(ValueError, match=r"^club: members and meetings do not fit together$") as caught:
        build(Picky, "club", "club", {})
    assert not isinstance(caught.value, OptionError)


# the configuration -----------------------------------------------------------------------------------------


def test_a_file_may_spell_a_choice(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("resampling: interpolated:0.25\ndynamics: {name: 'ensemble:members=7', hidden: [8]}\n")
    config = TrainConfig.load(path)
    assert config.resampling == Interpolated(0.25)
    assert (config.dynamics.members, config.dynamics.hidden) == (7, (8,))


@pytest.mark.parametrize(
    "changes",
    [
        {"resampling": "interpolated:0.25", "resampling.ratio": 0.5},
        {"resampling.ratio": 0.5, "resampling": "interpolated:ratio=0.25"},
        {"resampling": {"name": "interpolated:0.25", "ratio": 0.25}},
    ],
)
def test_an_option_that_is_spelled_and_given_alone_is_given_twice(changes):
    with pytest.raises(OptionError, match=r"^resampling.ratio: is given twice"):
        TrainConfig().updated(changes)


def test_a_spelling_goes_before_the_file_option_by_option():
    config = TrainConfig(resampling=Interpolated(0.1, "predictions"))
    assert config.updated({"resampling": "interpolated:0.25"}).resampling == Interpolated(0.25, "predictions")
    assert config.updated({"resampling": "mixture:2"}).resampling == Mixture(2)
