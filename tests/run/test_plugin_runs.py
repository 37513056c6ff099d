"""Runs, files and sweeps with choices that live outside the package."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl_agent import ParticlePILCO, load_plugin, unload_plugin
from mbrl_agent.contract.__main__ import main as contract
from mbrl_agent.contract.agents import tiny_env
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.run import cli
from mbrl_agent.run.commands import evaluate, export, inspect, watch
from mbrl_agent.run.commands.command_line import parse_command, run_command
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.experiment import new_run
from mbrl_agent.run.task_flags import named_cost
from mbrl_agent.search.policy_search import SearchOptions
from mbrl_agent.study.__main__ import main as study
from tests.support.tiny_run import TINY, quick_figures, resume

SOURCE = Path(__file__).parent.parent / "support" / "plugin_of_each_kind.py"
CHOSEN = {
    "resampling": "mine:0.25",
    "estimator": "pathwise",
    "dynamics": "least-squares",
    "policy": "cubic:gain=0.5",
}


@pytest.fixture
def plugin(write_plugin):
    """A plug-in in the current directory, which nobody has loaded."""
    return write_plugin("plug_each", SOURCE.read_text())


def forget(name):
    """As if the process had just begun."""
    unload_plugin(name)
    sys.modules.pop(name, None)


def test_flags_help_and_values(plugin, capsys):
    chosen = [word for key, value in CHOSEN.items() for word in (f"--{key}", value)]
    command = cli.parse(["--plugin", plugin, *chosen])
    assert str(command.config.resampling) == "mine:amount=0.25"
    assert command.config.policy.gain == 0.5
    assert command.config.plugins == (plugin,)
    forget(plugin)
    command = cli.parse([f"--plugin={plugin}", "--resampling", "mine", "--resampling.amount", "0.75"])
    assert command.config.resampling.amount == 0.75
    forget(plugin)
    assert cli.parse(["--plugin", f"{plugin}, {plugin}", "--plugin", plugin]).config.plugins == (plugin,)
    forget(plugin)
    for key, value in CHOSEN.items():
        forget(plugin)
        assert cli.main(["--plugin", plugin, "--help", key]) == 0
        assert f"{key} {value.partition(':')[0]}:" in capsys.readouterr().out
    forget(plugin)
    assert cli.main(["--help=run", "--plugin", plugin]) == 0
    assert "--plugin MODULE" in capsys.readouterr().out


def test_a_cost_of_a_plug_in_is_named_and_comes_back_with_the_run(plugin, tmp_path, capsys):
    command = cli.parse(["--plugin", plugin, "--cost", "distance:effort=0.5"])
    assert named_cost(command.config.cost).effort == 0.5
    assert command.config.plugins == (plugin,)
    assert cli.main(["--plugin", plugin, "--cost", "distance:efort=0.5"]) == 2
    assert "--cost.efort: unknown option; did you mean effort?" in capsys.readouterr().err
    assert cli.main(["--plugin", plugin, "--cost", "nearness"]) == 2
    assert "--cost: must be distance, module:name, or environment, got 'nearness'" in capsys.readouterr().err
    options = {**TINY, "plugins": [plugin], "cost": "distance:0.5", "trials": 2, "logdir": str(tmp_path)}
    with quick_figures():
        run = new_run(TrainConfig().updated(options))
        run.run()
        forget(plugin)
        again = resume(run.directory, trials=3)
        again.run()
    assert again.agent.task.cost.effort == 0.5
    config = TrainConfig.load(run.directory / "config.yaml")
    assert (config.cost, config.plugins) == ("distance:0.5", (plugin,))


def test_a_mistake_is_one_line(plugin, write_plugin, capsys):
    write_plugin("plug_fault", "1 /\n 0")
    for argv, message in (
        (["--plugin", "plug_fault"], "cannot be imported: SyntaxError"),
        (["--plugin", "nosuch_plugin"], "cannot be found"),
        (["--plugin"], "expected one argument"),
        (["--resampling", "mine"], "unknown resampling 'mine'"),
        (["--plugin", plugin, "--resampling", "mine:nosuch=3"], "resampling"),
    ):
        assert cli.main(argv) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


def test_a_configuration_names_the_plug_ins_that_it_needs(plugin, tmp_path):
    file = tmp_path / "config.yaml"
    load_plugin(plugin)
    TrainConfig(resampling="mine:0.5").save(file)  # nobody has said plugins=
    forget(plugin)
    assert (
        cli.parse(["--config", str(file), "--resampling.amount", "0.125"]).config.resampling.amount == 0.125
    )
    forget(plugin)
    config = TrainConfig.load(file)
    assert config.plugins == (plugin,)
    assert TrainConfig.from_dict(config.to_dict()) == config
    forget(plugin)
    assert TrainConfig(plugins=(plugin,), policy="CubicPolicy").policy.name == "cubic"
    file.write_text("plugins: [nosuch_plugin]\nresampling: mine\n")
    with pytest.raises(ValueError, match=r"plugins: plug-in 'nosuch_plugin' cannot be found"):
        TrainConfig.load(file)
    for wrong in ("plugins: 3", "plugins: {a: 1}", "plugins: [1]"):
        file.write_text(wrong)
        with pytest.raises(ValueError, match="plugins: expected"):
            TrainConfig.load(file)


def test_a_run_is_resumed_in_a_process_that_has_not_loaded_the_plug_in(plugin, tmp_path):
    options = {key: value for key, value in TINY.items() if not key.startswith(("dynamics", "policy"))}
    options |= {"plugins": [plugin], **CHOSEN, "trials": 2, "logdir": str(tmp_path / "runs")}
    with quick_figures():
        run = new_run(TrainConfig().updated(options))
        run.run()
        forget(plugin)
        again = resume(run.directory, trials=3)
        again.run()
    assert again.agent.trials == 3
    assert type(again.agent.policy).__name__ == "CubicPolicy"
    forget(plugin)
    shutil.move(f"{plugin}.py", "elsewhere.txt")
    shutil.rmtree("__pycache__", ignore_errors=True)
    with pytest.raises(ValueError, match=f"plug-in '{plugin}' cannot be found"):
        resume(run.directory, trials=4)


def test_an_agent_file_alone_is_read_with_its_plug_in(plugin, tmp_path, capsys):
    load_plugin(plugin)
    search = SearchOptions(num_particles=10)
    agent = ParticlePILCO(CHOSEN["policy"], tiny_env(), search=search, resampling="mine")
    agent.save(tmp_path / "alone.zip")
    forget(plugin)
    path = str(tmp_path / "alone.zip")
    assert run_command(inspect, [path], "inspect") == 2
    assert f"--plugin {plugin}" in capsys.readouterr().err
    assert run_command(inspect, [path, "--plugin", "nosuch_plugin"], "inspect") == 2
    assert "error: --plugin: plug-in 'nosuch_plugin' cannot be found" in capsys.readouterr().err
    for command in (evaluate, watch, inspect, export):
        forget(plugin)
        options = parse_command(command, [path, "--plugin", f"{plugin},{plugin}"], "it")
        assert options.open().agent.resampling.name == "mine"


def test_save_and_load(plugin):
    load_plugin(plugin)
    search = SearchOptions(steps=1, num_particles=12, candidates=2)
    options = {key: CHOSEN[key] for key in ("resampling", "estimator", "dynamics")}
    agent = ParticlePILCO(CHOSEN["policy"], tiny_env(), search=search, seed=1, gradient_probe=0, **options)
    agent.learn(16)
    file = io.BytesIO()
    agent.save(file)
    loaded = ParticlePILCO.load(io.BytesIO(file.getvalue()), env=tiny_env())
    assert loaded.resampling == agent.resampling
    assert type(loaded.policy) is type(agent.policy)
    again = io.BytesIO()
    loaded.save(again)
    assert again.getvalue() == file.getvalue()
    forget(plugin)
    message = rf"of the class '{plugin}\.Shrink': load its plug-in, mbrl_agent\.load_plugin\('{plugin}'\)"
    with pytest.raises(ValueError, match=message):
        ParticlePILCO.load(io.BytesIO(file.getvalue()))
    load_plugin(plugin)  # imported anew: other classes of the same place
    assert ParticlePILCO.load(io.BytesIO(file.getvalue())).resampling.amount == 0.25


def test_another_class_of_that_name_is_not_mistaken_for_it(plugin, write_plugin):
    load_plugin(plugin)
    agent = ParticlePILCO(
        "LinearPolicy",
        tiny_env(),
        resampling="mine",
        dynamics=Ensemble(members=2, hidden=(4,)),
        search=SearchOptions(num_particles=12),
    )
    file = io.BytesIO()
    agent.save(file)
    forget(plugin)
    load_plugin(write_plugin("plug_other", SOURCE.read_text()))
    with pytest.raises(ValueError, match=rf"of the class '{plugin}\.Shrink': load its plug-in"):
        ParticlePILCO.load(file)


@pytest.mark.slow
def test_a_sweep_hands_the_plug_in_to_its_cells(plugin, capsys):
    options = ["--plugin", plugin, "--resampling", "mine:0.5", "--dynamics", "least-squares"]
    small = ["--trials", "1", "--eval-episodes", "0", "--search.steps", "1", "--search.num-particles", "12"]
    small += ["--search.candidates", "1", "--search.horizon", "2", "--gradient-probe", "0"]
    status = study(["sweep", *options, *small, "--seeds", "0", "--jobs", "1", "--out", "out"])
    assert status == 0, capsys.readouterr().err
    assert len(list(Path("out").glob("mine*/agent.zip"))) == 1


def test_a_study_names_the_strategies_of_a_plug_in(plugin, capsys):
    sizes = ["--points", "2", "--repeats", "2", "--particles", "12", "--horizon", "2"]
    argv = ["landscape", "--untrained", "--policy", "cubic", "--resampling", "mine", *sizes, "--out", "l"]
    assert study([*argv, "--plugin", plugin]) == 0, capsys.readouterr().err
    forget(plugin)
    assert study(argv) == 2
    assert "unknown" in capsys.readouterr().err


def test_the_contract_as_a_program(plugin, capsys):
    argv = [plugin, "-q", "-p", "no:cacheprovider", "-k", "shapes or spelling"]
    command = [sys.executable, "-m", "mbrl_agent.contract", *argv]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert re.search(r"\b6 passed", found.stdout)  # two kinds have both rules, two the second
    assert contract(["nosuch_plugin"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert contract([]) == 2


def test_the_program_says_a_broken_rule_in_one_line_and_shows_where_a_class_fails(write_plugin):
    source = SOURCE.read_text().replace("amount: float = 0.1", "amount: float = 0.0")
    name = write_plugin("plug_wrong", source.replace("gram = ", "gram = nosuch + "))
    options = ["-p", "no:cacheprovider", "-k", "mine-mixing or least-squares-score"]
    command = [sys.executable, "-m", "mbrl_agent.contract", name, *options]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    rule = "Shrink: mixes_particles is True, but the value of one particle does not change the others"
    assert printed[printed.index(rule) - 1].strip("_ ") == "test_contract[resampling-mine-mixing]"
    assert "    gram = nosuch + inputs.mT @ inputs + 1e-4 * torch.eye(inputs.shape[-1]).to(inputs)" in printed
    assert len(printed) < 50
