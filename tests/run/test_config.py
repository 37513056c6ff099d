"""TrainConfig: values, plain data, YAML, and messages for what is wrong in a file."""

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
import yaml

from mbrl_agent.options import REQUIRED, OptionError, build, convert, options_of, placeholder, to_text
from mbrl_agent.options.fields import check_options
from mbrl_agent.options.validation import (
    require_choice,
    require_count,
    require_fraction,
    require_not_negative,
    require_number,
    require_positive,
)
from mbrl_agent.resampling import RESAMPLERS, Gaussian, Interpolated, Mixture, NoResampling
from mbrl_agent.run.config import CHOICES, TrainConfig, known_keys
from mbrl_agent.search.policy_search import SearchOptions

EVERY_CLASS = [(key, cls) for key, registry in CHOICES.items() for cls in registry.classes.values()]
AWKWARD_FLOATS = [1e-3, 0.1 + 0.2, 1e-300, 1 / 3, 5e-324, 1e22, 123456789.123456789]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"random_trials": 0}, "random_trials must be at least 1, got 0"),
        ({"random_trials": 11}, "random_trials must be at most trials, 10, got 11"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"eval_episodes": -1}, "eval_episodes must be at least 0, got -1"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"env": ""}, "env must not be empty"),
        ({"logdir": ""}, "logdir must not be empty"),
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:N, got 'gpu'"),
        ({"device": "cuda:x"}, "device must be cpu, cuda or cuda:N, got 'cuda:x'"),
        ({"resampling": "gausian"}, "unknown resampling 'gausian'"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_a_count_must_be_a_whole_number(value):
    with pytest.raises(TypeError, match="trials must be a whole number"):
        TrainConfig(trials=value)


@pytest.mark.parametrize("values", [{"seed": 0}, {"eval_episodes": 0}, {"trials": 3, "random_trials": 3}])
def test_values_at_the_edge_are_allowed(values):
    assert {key: getattr(TrainConfig(**values), key) for key in values} == values


def test_a_name_stands_for_the_class_with_default_options():
    assert TrainConfig(resampling="mixture") == TrainConfig(resampling=Mixture())


def test_the_device_that_is_there():
    assert TrainConfig(device="cpu").torch_device() == torch.device("cpu")


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_device_that_is_not_there(device, count, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    config = TrainConfig(device=device)
    with pytest.raises(
        ValueError, match=f"device '{device}' is not there: torch finds {count} CUDA devices; use cpu"
    ):
        config.torch_device()


def test_the_last_of_several_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert TrainConfig(device="cuda:1").torch_device() == torch.device("cuda", 1)


# plain data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "cls"), EVERY_CLASS)
def test_every_choice_survives_the_file(key, cls, tmp_path):
    config = TrainConfig(**{key: cls()})
    config.save(tmp_path / "config.yaml")
    assert TrainConfig.load(tmp_path / "config.yaml") == config


def test_a_file_keeps_everything_exactly(tmp_path):
    config = TrainConfig(
        env="My-v0",
        trials=7,
        quiet=True,
        logdir="a: b # ü",
        search=SearchOptions(learning_rate=0.1 + 0.2),
        resampling=Interpolated(ratio=1 / 3),
        dynamics=dataclasses.replace(CHOICES["dynamics"].resolve("ensemble"), hidden=(3, 5, 7)),
    )
    config.save(tmp_path / "config.yaml")
    loaded = TrainConfig.load(tmp_path / "config.yaml")
    assert loaded == config
    assert isinstance(loaded.dynamics.hidden, tuple)
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("value", AWKWARD_FLOATS)
def test_floats_survive_the_file_exactly(value, tmp_path):
    config = TrainConfig(search=SearchOptions(learning_rate=value))
    config.save(tmp_path / "config.yaml")
    assert TrainConfig.load(tmp_path / "config.yaml").search.learning_rate == value


def test_the_file_is_plain_and_names_the_choices(tmp_path):
    TrainConfig(resampling="interpolated").save(tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith("# Configuration of a run of mbrl_agent ")
    data = yaml.safe_load(text)
    assert data["resampling"]["name"] == "interpolated"
    assert data["resampling"]["ratio"] == Interpolated().ratio
    assert list(data) == [f.name for f in dataclasses.fields(TrainConfig) if f.name != "env_options"]


def test_flat_holds_every_option_as_a_scalar():
    config = TrainConfig(resampling=Interpolated(ratio=0.25))
    flat = config.flat()
    assert flat["resampling"] == "interpolated"
    assert flat["resampling.ratio"] == 0.25
    assert flat["dynamics.hidden"] == "64,64"
    assert flat["search.learning_rate"] == config.search.learning_rate
    assert all(isinstance(value, int | float | bool | str) for value in flat.values())
    chosen = sum(len(dataclasses.fields(getattr(config, key))) + 1 for key in CHOICES)
    plain = len(dataclasses.fields(TrainConfig)) - len(CHOICES) - 2  # env_options: there are none
    assert len(flat) == chosen + plain + len(dataclasses.fields(SearchOptions))


def test_missing_keys_take_their_defaults():
    assert TrainConfig.from_dict({}) == TrainConfig()
    assert TrainConfig.from_dict({"resampling": {"ratio": 0.1, "name": "interpolated"}}) == TrainConfig(
        resampling=Interpolated(ratio=0.1)
    )


def test_a_choice_may_be_a_name_alone():
    assert TrainConfig.from_dict({"resampling": "none"}).resampling == NoResampling()


def test_updated_keeps_the_options_of_the_same_choice():
    config = TrainConfig(resampling=Mixture(components=2, em_iterations=9))
    changed = config.updated({"resampling": {"components": 4}, "search": {"steps": 5}})
    assert changed.resampling == Mixture(components=4, em_iterations=9)
    assert changed.search == dataclasses.replace(config.search, steps=5)


def test_updated_drops_the_options_of_another_choice():
    config = TrainConfig(resampling=Interpolated(ratio=0.1))
    assert config.updated({"resampling": {"name": "gaussian"}}).resampling == Gaussian()
    again = config.updated({"resampling": "gaussian"}).updated({"resampling": "interpolated"})
    assert again.resampling == Interpolated()


def test_dotted_keys_do_for_nested_ones():
    changes = {"search.steps": "5", "resampling": "interpolated", "resampling.ratio": "0.25"}
    nested = {"search": {"steps": 5}, "resampling": {"name": "interpolated", "ratio": 0.25}}
    assert TrainConfig().updated(changes) == TrainConfig().updated(nested)
    assert TrainConfig().updated(changes).resampling == Interpolated(ratio=0.25)
    assert TrainConfig().updated(dict(reversed(changes.items()))) == TrainConfig().updated(nested)


def test_updated_leaves_the_original_alone():
    config = TrainConfig()
    config.updated({"trials": 20, "search": {"steps": 1}})
    assert config == TrainConfig()


# messages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trails: 3", "trails: unknown option; did you mean trials?"),
        (
            "search: {learning_rat: 1}",
            "search.learning_rat: unknown option; did you mean search.learning_rate?",
        ),
        ("learning_rate: 1", "learning_rate: unknown option; did you mean search.learning_rate?"),
        ("search.steps: x", "search.steps: expected a whole number, got 'x'"),
        ("search: {name: x}", "search.name: unknown option"),
        ("12: 3", "12: unknown option"),
        (
            "resampling: {name: interpolated, ration: 1}",
            "resampling.ration: unknown option; did you mean resampling.ratio?",
        ),
        (
            "resampling: {name: none, ratio: 0.5}",
            "resampling.ratio: resampling 'none' has no option 'ratio'; it belongs to: interpolated",
        ),
        ("resampling: {ratio: 0.5}", "resampling.ratio: resampling 'gaussian' has no option 'ratio'"),
        ("resampling: gausian", "resampling: unknown resampling 'gausian': choose from "),
        ("resampling: 3", "resampling: expected options and their values, got 3"),
        ("resampling:", "resampling: expected options and their values, got None"),
        ("resampling: {name: 3}", f"resampling: expected one of {', '.join(RESAMPLERS.names())}"),
        ("resampling: {name: interpolated, ratio: 2}", "resampling.ratio: must be from 0 to 1"),
        ("search: 3", "search: expected options and their values, got 3"),
        ("search: {steps: 1.5}", "search.steps: expected a whole number, got 1.5"),
        ("search: {steps: true}", "search.steps: expected a whole number, got True"),
        ("search: {learning_rate: fast}", "search.learning_rate: expected a number, got 'fast'"),
        ("search: {learning_rate: false}", "search.learning_rate: expected a number, got False"),
        ("search: {steps: }", "search.steps: expected a whole number, got None"),
        ("quiet: 1", "quiet: expected true or false, got 1"),
        ("env: 3", "env: expected text, got 3"),
        ("dynamics: {hidden: [a]}", "dynamics.hidden: expected a whole number, got 'a'"),
        ("dynamics: {hidden: 3}", "dynamics.hidden: expected a list, each item a whole number, got 3"),
        ("trials: 0", "trials: must be at least 1, got 0"),
        ("- 1", "must map options to values, got list"),
        ("", "must map options to values, got nothing"),
        ("a: [", "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text, message, tmp_path):
    path = write(tmp_path / "some.yaml", text)
    with pytest.raises(ValueError, match=re.escape(f"configuration {path}")) as caught:
        TrainConfig.load(path)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"absent.yaml cannot be read: No such file"):
        TrainConfig.load(tmp_path / "absent.yaml")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        TrainConfig.load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="binary cannot be read: it is not valid YAML"):
        TrainConfig.load(tmp_path / "binary")


def test_option_errors_know_where():
    with pytest.raises(OptionError) as caught:
        TrainConfig().updated({"search": {"steps": "x"}})
    assert caught.value.path == ("search", "steps")


# options of a dataclass ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parent:
    """A parent. With a second sentence."""

    inherited: int = 1
    """From the
    parent."""


@dataclass(frozen=True)
class Child(Parent):
    """A child."""

    own: float = 2.0
    """Its own."""


def test_options_have_docstrings_also_inherited_ones():
    options = options_of(Child)
    assert [(o.name, o.hint, o.default, o.help) for o in options.values()] == [
        ("inherited", int, 1, "From the parent."),
        ("own", float, 2.0, "Its own."),
    ]


def test_build_converts_and_refuses_what_the_class_does_not_have():
    assert build(Child, "x", "a child", {"own": "3", "inherited": 4}) == Child(inherited=4, own=3.0)
    with pytest.raises(OptionError, match=r"^x.own2: unknown option; did you mean own\?$"):
        build(Child, "x", "a child", {"own2": 1})


def test_an_option_of_a_choice_needs_a_default():
    @dataclass
    class Bad:
        required: int

    assert options_of(Bad)["required"].default is REQUIRED  # as an option of a command may be
    with pytest.raises(TypeError, match="option 'required' of Bad has no default value"):
        check_options(Bad)


@pytest.mark.parametrize(
    ("given", "hint", "expected"),
    [
        ("3", int, 3),
        (3, int, 3),
        ("-3", int, -3),
        ("1e-3", float, 1e-3),
        (2, float, 2.0),
        ("a", str, "a"),
        ("true", bool, True),
        (False, bool, False),
        ("b", Literal["a", "b"], "b"),
        ("2", Literal[1, 2], 2),
        (2, Literal[1, 2], 2),
        ("none", int | None, None),
        (None, int | None, None),
        ("4", int | None, 4),
        ("64,32", tuple[int, ...], (64, 32)),
        ([64, 32], tuple[int, ...], (64, 32)),
        ("7", tuple[int, ...], (7,)),
        ("", tuple[int, ...], ()),
        ("0.5,1", tuple[float, ...], (0.5, 1.0)),
        ("1,2", tuple[int, ...] | None, (1, 2)),
    ],
)
def test_convert(given, hint, expected):
    result = convert(given, hint)
    assert result == expected
    assert type(result) is type(expected)
    assert convert(to_text(result), hint) == expected


@pytest.mark.parametrize(
    ("given", "hint", "expectation"),
    [
        ("3.0", int, "a whole number"),
        (3.0, int, "a whole number"),
        (True, int, "a whole number"),
        (True, float, "a number"),
        ("yes", bool, "true or false"),
        (1, bool, "true or false"),
        (1, str, "text"),
        ("c", Literal["a", "b"], "one of a, b"),
        (True, Literal[1, 2], "one of 1, 2"),
        ("x", int | None, "a whole number"),
        ("1,x", tuple[int, ...], "a whole number"),
        ("1,,2", tuple[int, ...], "a list, each item a whole number"),
        ({"a": 1}, tuple[int, ...], "a list, each item a whole number"),
    ],
)
def test_convert_refuses(given, hint, expectation):
    with pytest.raises(ValueError, match=f"expected {expectation}, got "):
        convert(given, hint)


@pytest.mark.parametrize("hint", [dict, int | str, list[int]])
def test_types_that_are_not_supported(hint):
    with pytest.raises(TypeError, match="not supported"):
        convert("1", hint)


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "INT"),
        (str, "TEXT"),
        (tuple[int, ...], "INT,..."),
        (float | None, "FLOAT|none"),
        (Literal["a", 1], "{a,1}"),
    ],
)
def test_placeholders(hint, text):
    assert placeholder(hint) == text


@pytest.mark.parametrize(("key", "cls"), [*EVERY_CLASS, ("search", SearchOptions)])
def test_every_option_of_every_class_is_documented_and_of_a_supported_type(key, cls):
    for option in options_of(cls).values():
        assert option.help, f"{cls.__name__}.{option.name} has no docstring"
        assert convert(to_text(option.default), option.hint) == option.default
        assert f"{key}.{option.name}" in known_keys()


def test_every_own_option_is_documented():
    assert [option.name for option in options_of(TrainConfig).values() if not option.help] == []


def test_messages_of_the_validation_name_option_and_value():
    cases = [
        (require_count, (True,), TypeError, "x must be a whole number, got True"),
        (require_count, (0,), ValueError, "x must be at least 1, got 0"),
        (require_number, ("1",), TypeError, "x must be a number, got '1'"),
        (require_number, (math.nan,), ValueError, "x must be finite, got nan"),
        (require_positive, (0.0,), ValueError, "x must be above zero, got 0.0"),
        (require_positive, (math.inf,), ValueError, "x must be finite, got inf"),
        (require_fraction, (1.5,), ValueError, "x must be from 0 to 1, got 1.5"),
        (require_fraction, (-1e-9,), ValueError, "x must be from 0 to 1, got -1e-09"),
        (require_not_negative, (-0.5,), ValueError, "x must not be negative, got -0.5"),
        (require_choice, ("c", ["a", "b"]), ValueError, "x must be one of a, b, got 'c'"),
    ]
    for check, arguments, error, message in cases:
        with pytest.raises(error) as caught:
            check("x", *arguments)
        assert str(caught.value) == message


def test_the_validation_allows_what_lies_at_the_edge():
    require_count("x", 1)
    require_count("x", 0, minimum=0)
    require_positive("x", 5e-324)
    require_not_negative("x", 0.0)
    require_fraction("x", 0)
    require_fraction("x", 1.0)
    require_choice("x", "a", ("a", "b"))


def test_an_environment_with_options_is_written_as_a_choice(tmp_path):
    config = TrainConfig().updated({"env": "My-v0", "env.noise_std": 0.05, "angle_dims": [0, 2]})
    assert (config.env, config.env_options, config.angle_dims) == ("My-v0", {"noise_std": 0.05}, "0,2")
    config.save(tmp_path / "c.yaml")
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["env"] == {"name": "My-v0", "noise_std": 0.05}
    assert TrainConfig.load(tmp_path / "c.yaml") == config
    assert config.flat()["env.noise_std"] == 0.05
    assert config.updated({"env.noise_std": 1}).env_options == {"noise_std": 1}
    assert config.updated({"env": "Other-v0"}).env_options == {}  # a new name drops the old options
    (tmp_path / "old.yaml").write_text("env: My-v0\n")
    assert TrainConfig.load(tmp_path / "old.yaml") == TrainConfig(env="My-v0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{0: 1, 2: 3}", "0:1,2:3"),
        ("0:1,2:3", "0:1,2:3"),
        ("1:2", "1:2"),  # 62 to YAML 1.1
        ("{}", "none"),
        ("none", "none"),
    ],
)
def test_velocities_in_a_file(text, expected, tmp_path):
    (tmp_path / "c.yaml").write_text(f"velocity_dims: {text}\n")
    config = TrainConfig.load(tmp_path / "c.yaml")
    assert config.velocity_dims == expected
    config.save(tmp_path / "again.yaml")
    assert TrainConfig.load(tmp_path / "again.yaml") == config


@pytest.mark.parametrize("text", ["{0: x}", "{x: 1}", "[0, 1]", "3", "{0: {1: 2}}"])
def test_velocities_in_a_file_that_cannot_be(text, tmp_path):
    (tmp_path / "c.yaml").write_text(f"velocity_dims: {text}\n")
    with pytest.raises(ValueError, match=r"velocity_dims: (must say which|expected text)"):
        TrainConfig.load(tmp_path / "c.yaml")


def test_reading_a_configuration_imports_nothing(tmp_path):
    (tmp_path / "c.yaml").write_text("cost: no_such_module:cost\nenv: no_such_module:X-v0\n")
    assert TrainConfig.load(tmp_path / "c.yaml").cost == "no_such_module:cost"
    (tmp_path / "c.yaml").write_text("cost: /tmp/evil.py:cost\n")
    with pytest.raises(ValueError, match="must be module:name"):
        TrainConfig.load(tmp_path / "c.yaml")
