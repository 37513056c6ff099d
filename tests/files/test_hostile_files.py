"""Files written to do harm, beyond the bytes of a checkpoint: one clear error, no code, little memory.

`test_checkpoint_corruption` has the zip, JSON and .npy layers; here are configurations, what a valid
checkpoint may say of an agent, evaluations and tables of progress.
"""

import copy
import io
import json
import multiprocessing
import os
import pickle
import resource
import stat
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.files.archive import CheckpointError, read_archive, write_archive
from mbrl_agent.files.yaml_data import decode_yaml, read_yaml
from mbrl_agent.run import cli
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.study.baseline.command import parse_options
from mbrl_agent.study.compare.read_evaluations import read_evaluations
from mbrl_agent.study.compare.read_runs import read_run
from mbrl_agent.study.progress_table import read_progress
from mbrl_agent.study.sweep.request import read_requests
from tests.support.point_mass import STEPS, limited

needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")


def within(megabytes: int, function, *arguments) -> None:
    """Call a function in a forked process whose address space may grow by so much and no more."""

    def run() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def refuses(message: str, function, *arguments) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        function(*arguments)
    assert len(str(caught.value)) < 2000


# YAML ------------------------------------------------------------------------------------------------------

LAUGHS = "\n".join(
    ["x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    + [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 10)]
    + ["search: *x9"]
)
MERGES = "\n".join(
    ["x0: &x0 {a: 1}"]
    + [f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}" for i in range(1, 10)]
    + ["search: *x9"]
)
HOSTILE_YAML = {
    "billion laughs": (LAUGHS, "aliases are not allowed"),
    "billion merges": (MERGES, "aliases are not allowed"),
    "a list that holds itself": ("search: &a [*a]", "aliases are not allowed"),
    "an anchor alone": ("seed: &a 1", "aliases are not allowed"),
    "an object": ("seed: !!python/object/apply:os._exit [99]", "tags are not allowed"),
    "a name": ("env: !!python/name:os.system", "tags are not allowed"),
    "an empty number": ('seed: !!int ""', "tags are not allowed"),
    "no truth": ("quiet: !!bool perhaps", "tags are not allowed"),
    "no time": ("seed: !!timestamp never", "tags are not allowed"),
    "a tag of one's own": ("seed: !mine 1", "tags are not allowed"),
    "a set": ("search: !!set {steps}", "tags are not allowed"),
    "a key twice": ("seed: 1\ntrials: 3\nseed: 2", "'seed' is given twice"),
    "a key twice inside": ("search: {steps: 1, steps: 2}", "'steps' is given twice"),
    "a key twice, quoted once": ("seed: 1\n'seed': 2", "'seed' is given twice"),
    "an option in two spellings": ("search: {steps: 1}\nsearch.steps: 2", r"search\.steps: is given twice"),
    "a choice in two spellings": ("resampling: none\nresampling.name: mixture", "is given twice"),
    "an option inside no mapping": ("search: 5\nsearch.steps: 2", "is given twice"),
    "deep": ("seed: " + "[" * 30 + "]" * 30, "nested too deeply"),
    "very deep": ("seed: " + "[" * 30_000, "nested too deeply"),
    "deep keys": ("? " * 1000 + "a", "nested too deeply"),
    "a list for a key": ("[1]: 2", "unhashable key"),
    "two documents": ("seed: 1\n---\nseed: 2", "single document"),
    "merge": ("<<: {seed: 3}", "<<: unknown option"),
    "no such day": ("seed: 2001-99-99", "expected a whole number"),
    "beyond floats": ("search: {learning_rate: 0x" + "f" * 400 + "}", "expected a number"),
    "beyond digits": ("seed: 0x" + "f" * 9000, "a number of very many digits"),
    "beyond 64 bits": ("seed: 0x" + "f" * 400, "must fit 64 bits"),
    "sixty to the power of 300": ("search: {learning_rate: 1" + ":0" * 300 + ":0.5}", "expected a number"),
    "a size beyond 64 bits": ("dynamics: {hidden: [99999999999999999999]}", "must fit 64 bits"),
    "a long text": ("seed: " + "x" * 60_000, r"xxx\.\.\.$"),
    "too large": ("# " + "x" * 2**16, "larger than 65536 bytes"),
    "not text": (b"seed: \xff", "not valid YAML"),
    "control characters": ("seed: \x01", "not valid YAML"),
    "a directory's depth of threads": ("threads: 1000000", "threads: must be at most 1024"),
    "a device beyond torch's counting": ("device: cuda:200", "device: must be"),
    "another script's digits": ("device: cuda:\u0663", "device: must be"),
}


def written(directory: Path, content) -> Path:
    path = directory / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@needs_limits
@pytest.mark.parametrize("case", HOSTILE_YAML)
def test_configurations_that_are_refused(tmp_path, case, capsys):
    content, message = HOSTILE_YAML[case]
    path = written(tmp_path, content)
    within(128, refuses, message, TrainConfig.load, path)
    assert cli.main(["--config", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@needs_limits
def test_the_largest_configurations_that_are_read_take_little_memory(tmp_path):
    for content in ("seed: [" + "1," * 32_000 + "]", "seed: [" + "[]," * 20_000 + "]", "a: " + "? " * 30_000):
        within(192, refuses, "config.yaml", TrainConfig.load, written(tmp_path, content))


@needs_limits
def test_a_configuration_without_end():
    within(64, refuses, "larger than 65536 bytes", TrainConfig.load, "/dev/zero")


@pytest.mark.parametrize("content", [LAUGHS, "seed: !!python/name:os.system", "a: 1\na: 2", "a: !!int ''"])
def test_every_reader_of_yaml_refuses(tmp_path, content):
    path = written(tmp_path, content)
    for read, argument in ((read_yaml, path), (read_run, tmp_path), (read_requests, path)):
        refuses("not allowed|given twice", read, argument)
    refuses("is not a value in YAML", parse_options, [f"a={content}"])


def test_a_number_to_base_60_is_text():
    assert decode_yaml("[1:30, 1:30.5, -2:00, 1_000, 0x1F]") == ["1:30", "1:30.5", "-2:00", 1000, 31]


def test_yaml_of_plain_data_is_read():
    text = "{a: [1, 2.5, .inf, yes, ~, 'x'], 3: {b: 2001-01-01, <<: 1, c: =}, é: \"\\U0001F600\"}"
    assert decode_yaml(text) == {
        "a": [1, 2.5, float("inf"), True, None, "x"],
        3: {"b": "2001-01-01", "<<": 1, "c": "="},
        "é": "\U0001f600",
    }


@settings(max_examples=150)
@given(st.text("abs12:-[]{},&*!|>'\"#%@`?<=~. \n\t\\0x_e+é\x85", max_size=60) | st.text(max_size=40))
def test_any_text_is_plain_data_or_one_kind_of_error(text):
    try:
        data = decode_yaml(text)
    except ValueError as error:
        assert "not valid YAML" in str(error)  # noqa: PT017
    else:
        json.dumps(data, default=None, skipkeys=True)  # plain


# agents ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive():
    """What a valid checkpoint of an agent holds."""
    agent = ParticlePILCO(
        "MlpPolicy",
        limited(),
        dynamics=Ensemble(members=2, hidden=(8,), fit_steps=2),
        search=SearchOptions(steps=1, num_particles=12, candidates=2),
        policy_kwargs={"hidden": [4]},
        seed=3,
        gradient_probe=2,
    )
    agent.learn(2 * STEPS)
    file = io.BytesIO()
    agent.save(file)
    return read_archive(file)


def saved(archive, config=None, tensors=None, arrays=None) -> io.BytesIO:
    file = io.BytesIO()
    write_archive(file, config or archive.config, tensors or archive.tensors, arrays or archive.arrays)
    return file


def with_value(config, path, value):
    changed = copy.deepcopy(config)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


LARGE = {
    "members": (("dynamics", "members"), 10**9),
    "a wide model": (("dynamics", "hidden"), [10**7, 10**7]),
    "a model of gigabytes": (("dynamics", "hidden"), [20_000, 20_000]),
    "a deep model": (("dynamics", "hidden"), [8] * 100_000),
    "a wide policy": (("policy_kwargs", "hidden"), [10**6, 10**6]),
    "a wide policy of one layer": (("policy_kwargs", "hidden"), [10**9]),
    "beyond 64 bits": (("policy_kwargs", "hidden"), [10**30]),
}


@needs_limits
@pytest.mark.parametrize("case", LARGE)
def test_networks_larger_than_the_file_are_not_made(archive, case):
    path, value = LARGE[case]
    file = saved(archive, with_value(archive.config, path, value))
    message = "larger networks than|overflow|Overflow when unpacking"
    within(256, refuses, message, ParticlePILCO.load, file)


@needs_limits
def test_an_rbf_policy_of_a_billion_centers(archive):
    config = archive.config | {"policy": "RbfPolicy", "policy_kwargs": {"centers": 10**9}}
    within(256, refuses, "larger networks than", ParticlePILCO.load, saved(archive, config))


def leaves(data, path=()):
    """The path of every value in JSON data, those inside values too."""
    if path:
        yield path
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield from leaves(value, (*path, key))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"), -0.0, 1e300])
    | st.sampled_from(["", "none", "mixture", "MlpPolicy", "float32", "x" * 300, "\0", "../../etc/passwd"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def check_outcome(file: io.BytesIO) -> bool:
    """Whether it was loaded: then it acts and can be saved; otherwise there was one kind of error."""
    try:
        agent = ParticlePILCO.load(file)
    except ValueError as error:
        assert isinstance(error, CheckpointError) or "pass its class" in str(error)  # noqa: PT017
        assert len(str(error)) < 5000  # noqa: PT017
        return False
    action, _ = agent.predict(np.zeros(agent.observation_space.shape, agent.observation_space.dtype))
    assert action.shape == agent.action_space.shape
    agent.save(io.BytesIO())
    return True


def test_the_checkpoint_itself_is_loaded(archive):
    assert check_outcome(saved(archive))


@settings(max_examples=120)
@given(data=st.data())
def test_any_value_of_a_checkpoints_configuration_forged(archive, data):
    path = data.draw(st.sampled_from(sorted(leaves(archive.config), key=str)))
    check_outcome(saved(archive, with_value(archive.config, path, data.draw(JSON))))


@pytest.mark.parametrize("key", ["policy", "resampling", "counters", "given", "seed"])
def test_a_checkpoint_without_one_of_its_entries(archive, key):
    config = {k: v for k, v in archive.config.items() if k != key}
    assert not check_outcome(saved(archive, config))


@settings(max_examples=60)
@given(data=st.data())
def test_any_tensor_of_a_checkpoint_replaced_or_left_out(archive, data):
    name = data.draw(st.sampled_from(sorted(archive.tensors)))
    shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bool, torch.int64]))
    other = {} if data.draw(st.booleans()) else {name: torch.zeros(shape, dtype=dtype)}
    rest = {k: v for k, v in archive.tensors.items() if k != name}
    value = archive.tensors[name]
    same = bool(other) and other[name].shape == value.shape
    assert check_outcome(saved(archive, tensors=rest | other)) <= same


@pytest.mark.parametrize("part", ["observations", "actions"])
def test_episodes_of_another_width(archive, part):
    arrays = dict(archive.arrays)
    for name in [name for name in arrays if name.endswith(part)]:
        arrays[name] = np.zeros((len(arrays[name]), 5))
    with pytest.raises(CheckpointError, match="do not fit together: the episodes have the shape"):
        ParticlePILCO.load(saved(archive, arrays=arrays))


# evaluations and tables ------------------------------------------------------------------------------------


def npy(shape: str, data: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


class Mark:
    def __reduce__(self):
        return os._exit, (99,)


HOSTILE_MEMBERS = {
    "terabytes": npy("(1000000000000,)"),
    "beyond 64 bits": npy(f"({10**30},)"),
    "negative": npy("(-1,)"),
    "open brackets": npy("(((("),
    "deep brackets": npy("(" * 9000 + ")" * 9000),
    "a record": npy("(1,)", bytes(24), "[('a', '<f8')] * 3"),
    "an object": npy("(1,)", pickle.dumps(Mark()), "'|O'"),
    "code": npy("(__import__('os')._exit(99),)", bytes(8)),
    "a pickle": pickle.dumps(Mark()),
    "text": npy("(1,)", b"a\0\0\0", "'<U1'"),
    "complex": npy("(1,)", bytes(16), "'<c16'"),
    "nothing": b"",
}


@needs_limits
@pytest.mark.parametrize("case", HOSTILE_MEMBERS)
def test_evaluations_that_are_refused(tmp_path, case):
    with zipfile.ZipFile(tmp_path / "evaluations.npz", "w") as file:
        file.writestr("timesteps.npy", npy("(1,)", np.ones(1).tobytes()))
        file.writestr("results.npy", HOSTILE_MEMBERS[case])
    within(64, refuses, "cannot be read as evaluations: results does not hold", read_evaluations, tmp_path)


@pytest.mark.parametrize("case", ["twice", "a link", "encrypted", "lzma", "deflated"])
def test_evaluations_in_a_hostile_zip(tmp_path, case):
    path, good = tmp_path / "evaluations.npz", npy("(1, 1)", np.ones(1).tobytes())
    method = {"lzma": zipfile.ZIP_LZMA, "deflated": zipfile.ZIP_DEFLATED}.get(case, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("timesteps.npy", npy("(1,)", np.ones(1).tobytes()))
        info = zipfile.ZipInfo("results.npy")
        info.compress_type = method
        info.external_attr = (stat.S_IFLNK if case == "a link" else stat.S_IFREG) << 16
        file.writestr(info, good)
        if case == "twice":
            with pytest.warns(UserWarning, match="Duplicate"):
                file.writestr("results.npy", good)
    if case == "encrypted":
        data = bytearray(path.read_bytes())
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
    refuses("2 members are called|special file|compressed or encrypted", read_evaluations, tmp_path)


def test_evaluations_of_an_endless_file(tmp_path):
    (tmp_path / "evaluations.npz").symlink_to("/dev/zero")
    refuses(r"cannot be read as evaluations: it is larger than", read_evaluations, tmp_path)


@needs_limits
def test_a_table_whose_line_has_a_gigabyte(tmp_path):
    path = tmp_path / "progress.csv"
    with path.open("wb") as file:
        file.write(b"time/total_timesteps\n")
        file.truncate(2**30)  # zeros that take no space
    within(128, refuses, "progress.csv is not a table.*larger than", read_progress, path)


@needs_limits
@pytest.mark.parametrize("line", ["x" * 10**6, '"' + "x" * 10**6, "," * 10**6, "\0" * 1000])
def test_a_table_with_a_long_line(tmp_path, line):
    path = tmp_path / "progress.csv"
    path.write_text(f"time/total_timesteps\n{line}\n")
    within(128, refuses, "progress.csv", read_progress, path)
