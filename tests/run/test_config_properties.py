"""Any configuration survives its file and its command line; any garbage is one line and status 2."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mbrl_agent
from mbrl_agent.options import convert, options_of, to_text
from mbrl_agent.run import cli
from mbrl_agent.run.config import CHOICES, TrainConfig, known_keys
from mbrl_agent.run.presets import NO_PRESET, presets

few = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
many = settings(few, max_examples=250)

LARGEST = {"ratio": 1.0, "rate": 0.5, "dropout": 0.5}  # of numbers that are not unbounded
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: "\0" not in text)


def values_of(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Values of an option's type, among them those that its class refuses."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Union or type(None) in arguments:
        return st.none() | values_of(name, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return st.lists(values_of(name, arguments[0]), min_size=1, max_size=3).map(tuple)
    if hint is float:
        return st.floats(5e-324, LARGEST.get(name, 1e308))
    return {int: st.integers(1, 2**62) | st.integers(1, 9), bool: st.booleans(), str: TEXT}[hint]


def instances(cls: Any) -> st.SearchStrategy[Any]:
    """Instances of an options dataclass with any options that it takes."""
    options = {name: values_of(name, option.hint) for name, option in options_of(cls).items()}
    return st.fixed_dictionaries({}, optional=options).map(lambda given: cls(**given))


TASK_TEXTS = {
    "cost": ("environment", "my_module:cost", "a.b:c.d"),
    "angle_dims": ("environment", "none", "0", "0,2"),
    "velocity_dims": ("environment", "none", "0:1", "0:1,2:3"),
    "terminated": ("environment", "none", "my_module:fallen"),
    "initial_states": ("environment", "none", "my_module:start", "/data/starts.npy"),
}
"""What the command line can say of the task, by option."""


@st.composite
def configs(draw):
    values: dict[str, Any] = {}
    for name, option in options_of(TrainConfig).items():
        if name in CHOICES:
            values[name] = draw(
                st.sampled_from(sorted(CHOICES[name].classes.values(), key=str)).flatmap(instances)
            )
        elif dataclasses.is_dataclass(option.hint):
            values[name] = draw(instances(option.hint))
        elif name in TASK_TEXTS:
            values[name] = draw(st.sampled_from(TASK_TEXTS[name]))
        elif name not in ("plugins", "env_options") and draw(st.booleans()):  # these import modules
            values[name] = draw(values_of(name, option.hint))
    values["preset"] = draw(st.sampled_from([NO_PRESET, *presets()]))
    values["device"] = "cpu"
    values["threads"] = draw(st.integers(1, 1024))
    values["observe"] = tuple(draw(st.lists(st.integers(0, 99), max_size=3, unique=True)))
    values["trials"] = draw(st.integers(10, 2**62))
    values["random_trials"] = draw(st.integers(1, 10))
    values["seed"] = draw(st.integers(0, 2**32 - 1))
    files = draw(st.lists(st.integers(0, 9), max_size=3))
    values["episodes"] = tuple(f"/data/läufe {number}.npz" for number in files)  # others become absolute
    return TrainConfig(**values)


def command_line(config: TrainConfig) -> list[str]:
    """The words that ask for a configuration, every option given."""
    words = []
    for key, value in config.flat().items():
        if isinstance(value, bool):
            words.append(cli.flag(key) if value else cli.flag(key).replace("--", "--no-", 1))
        else:
            words.append(f"{cli.flag(key)}={to_text(value)}")
    return words


@few
@given(config=configs())
def test_any_configuration_survives_its_file(config, tmp_path):
    config.save(tmp_path / "config.yaml")
    assert TrainConfig.load(tmp_path / "config.yaml") == config
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_bytes()) == config.to_dict()  # other readers agree


@few
@given(config=configs())
def test_any_configuration_survives_its_command_line(config):
    assert cli.parse(command_line(config)).config == config


@few
@given(config=configs(), other=configs())
def test_a_command_line_goes_before_any_file(config, other, tmp_path):
    other.save(tmp_path / "config.yaml")
    words = ["--config", str(tmp_path / "config.yaml"), *command_line(config)]
    assert cli.parse(words).config == config


@many
@given(data=st.data())
def test_text_is_the_inverse_of_conversion(data):
    hint = data.draw(
        st.sampled_from([int, float, bool, int | None, tuple[int, ...], tuple[float, ...], Literal["a", "b"]])
    )
    value = data.draw(values_of("", hint))
    assert convert(to_text(value), hint) == value


# garbage ---------------------------------------------------------------------------------------------------

FLAGS = [cli.flag(key) for key in known_keys()]
WORDS = (
    st.sampled_from([*FLAGS, *(flag.replace("--", "--no-", 1) for flag in FLAGS)])
    | st.sampled_from(
        ["--", "-", "--=", "--config", "--resume", "-1", "1e999", "nan", "none", "true", "9" * 5000]
    )
    | st.sampled_from(
        ["--seed=" + "9" * 30, "--search.learning-rate=inf", "--dynamics.hidden=,", "@x", "--se"]
    )
    | st.text(max_size=20)
    | st.builds("{}={}".format, st.sampled_from(FLAGS), st.text(max_size=10))
    | st.binary(max_size=6).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)


@pytest.fixture
def nothing_runs(monkeypatch):
    """A stand-in for the experiment, so that what parses by chance is not trained."""
    run = SimpleNamespace(run=lambda: None, directory=Path())
    made = SimpleNamespace(new_run=lambda config: run, open_run=lambda directory, config: run)
    monkeypatch.setattr(mbrl_agent.run, "experiment", made, raising=False)


def outcome(capsys, argv) -> int:
    """The exit status; on stderr nothing, or one line that says what is wrong."""
    status = cli.main(argv)
    out, err = capsys.readouterr()
    assert out == ""
    if status == 0:
        assert err == ""
    else:
        assert status == 2
        assert err.startswith("train.py: error: ")
        assert err.count("\n") == 1
        err.encode(sys.stderr.encoding or "utf-8", "backslashreplace")
    return status


def check_all(strategy, check) -> None:
    """Check every example; among them must be some that run and some that are refused."""
    seen = set()
    many(given(strategy)(lambda example: seen.add(check(example))))()
    assert seen == {0, 2}


def test_any_words_run_or_are_one_line(nothing_runs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_all(st.lists(WORDS, max_size=5), lambda argv: outcome(capsys, argv))


def test_any_value_of_any_option_runs_or_is_one_line(nothing_runs, capsys):
    words = st.builds("{}={}".format, st.sampled_from(FLAGS), TEXT | st.integers().map(str))
    check_all(words, lambda word: outcome(capsys, [word]))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.integers() | st.sampled_from(known_keys()), inner, max_size=3
        )
    ),
    max_leaves=6,
)
OPTIONS = st.dictionaries(st.sampled_from(known_keys()), PLAIN, min_size=1, max_size=3)


def test_any_plain_data_as_a_configuration_runs_or_is_one_line(nothing_runs, capsys, tmp_path):
    path = tmp_path / "config.yaml"

    def check(data: object) -> int:
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        return outcome(capsys, ["--config", str(path)])

    check_all(OPTIONS | PLAIN, check)
