"""Input that cannot be used: one line with the user's own words and what to do, and nothing written."""

import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch

SIGN = "phasescope: "


@pytest.fixture
def files(models, tmp_path):
    """Data files of every unusable kind beside the models."""
    torch.save(torch.randn(0, 16), tmp_path / "empty.pt")
    torch.save(torch.ones(8, 16), tmp_path / "constant.pt")
    torch.save(torch.randn(1, 16).repeat(2, 1), tmp_path / "pair.pt")
    torch.save(torch.randn(8, 17), tmp_path / "narrow.pt")
    torch.save({"weight": torch.randn(2, 2)}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "code.pt").write_bytes(pickle.dumps(print))
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 not really")
    np.savez_compressed(tmp_path / "flipped.npz", a=np.arange(64.0).reshape(4, 16))
    flipped = bytearray((tmp_path / "flipped.npz").read_bytes())
    flipped[90] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    np.save(tmp_path / "short.npy", np.zeros((8, 16)))
    header = (tmp_path / "short.npy").read_bytes().replace(b"(8, 16), }    ", b"(80000, 16), }")
    (tmp_path / "short.npy").write_bytes(header)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", np.lib.format.magic(1, 0) + bytes(2**20))
        archive.infolist()[0].file_size = 2**33
    torch.save(torch.ones(1).expand(10**12), tmp_path / "repeated.pt")
    endless = [torch.zeros(2)]
    endless.append(endless)
    torch.save(endless, tmp_path / "endless.pt")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    (tmp_path / "words.csv").write_text("a,b\n1,x\n")
    (tmp_path / "blank.csv").write_text("")
    (tmp_path / "data.xyz").write_text("")
    (tmp_path / "broken.py").write_text("def net(:\n    pass\n")
    (tmp_path / "absent.py").write_text("\nimport no_such_package\n")
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models.py:net"], ["net came without data", "--data"]),
        (["models.py:nett", "--data", "models.py:batch"], ["'nett'", "net"]),
        (["modles.py:net"], ["no file modles.py", "models.py"]),
        (["models.py"], ["which function", "with_batch"]),
        (["models"], ["'models'", "FILE.py:function"]),
        (["models.py:number"], ["models.py:number", "an int", "torch.nn.Module"]),
        (["models.py:triple"], ["a tuple of 3", "(module, batch)", "dictionary"]),
        (["models.py:misspelt"], ["unknown key 'lose'", "loss"]),
        (["models.py:without_model"], ["no key 'model'"]),
        (["models.py:needs"], ["models.py:needs", "width", "default"]),
        (
            ["models.py:raises"],
            ["models.py:raises failed", "IndexError", "line 35", "list index out of range"],
        ),
        (["models.py:leaves"], ["SystemExit", "no licence"]),
        (["broken.py:net"], ["broken.py cannot be imported", "SyntaxError", "line 1"]),
        (["absent.py:net"], ["ModuleNotFoundError", "line 2", "no_such_package"]),
        (["models.py:net", "--data", "missing.pt"], ["--data missing.pt", "no file"]),
        (["models.py:net", "--data", "data.xyz"], [".xyz", ".npy"]),
        (["models.py:net", "--data", "code.pt"], ["code.pt", "more than tensors"]),
        (["models.py:net", "--data", "damaged.pt"], ["damaged.pt"]),
        (["models.py:net", "--data", "objects.npy"], ["objects.npy"]),
        (["models.py:net", "--data", "damaged.npz"], ["damaged.npz", "zip"]),
        (["models.py:net", "--data", "flipped.npz"], ["flipped.npz", "cannot be read"]),
        (["models.py:net", "--data", "short.npy"], ["short.npy cannot be read as npy"]),
        (["models.py:net", "--data", "bomb.npz"], ["bomb.npz has", "8.59e+09", "1 GiB"]),
        (["models.py:net", "--data", "repeated.pt"], ["repeated.pt has", "(1000000000000,)", "4e+12"]),
        (["models.py:with_batch@repeated.pt"], ["repeated.pt has", "4e+12"]),
        (["models.py:net", "--data", "endless.pt"], ["endless.pt cannot be read", "recursion"]),
        (["models.py:net", "--data", "words.npy"], ["words.npy", "numbers"]),
        (["models.py:net", "--data", "words.csv"], ["words.csv", "numeric"]),
        (["models.py:net", "--data", "blank.csv"], ["blank.csv is empty"]),
        (["models.py:net", "--data", "empty.pt"], ["empty"]),
        (["models.py:net", "--data", "narrow.pt"], ["17"]),
        (["models.py:net", "--data", "constant.pt"], ["All 8 inputs", "identical", "differ"]),
        (["models.py:net", "--data", "pair.pt"], ["All 2 inputs", "identical", "differ"]),
        (["models.py:net@missing.pt"], ["no file missing.pt"]),
        (["models.py:net@other.pt"], ["other.pt does not fit Sequential", "weight"]),
        (["models.py:net@list.pt"], ["list.pt holds no state dict"]),
        (["models.py:with_batch", "--max-memory", "much"], ["--max-memory much", "2GB"]),
        (["models.py:with_batch", "--max-memory", "0"], ["--max-memory 0"]),
        (["models.py:with_batch", "--out", "file"], ["file", "--out"]),
        (["models.py:with_batch", "--out", "file/below"], ["file", "--out"]),
        (["models.py:with_batch", "--out", "zero\0byte"], ["zero\\x00byte", "--out"]),
    ],
)
def test_one_line_with_the_users_own_input(phasescope, files, words, said):
    before = sorted(path.name for path in files.iterdir() if path.name != "__pycache__")
    answer = phasescope("inspect", *words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith(SIGN)
    assert answer.err.count("\n") == 1
    assert [word for word in said if word not in answer.err] == []
    assert sorted(path.name for path in files.iterdir() if path.name != "__pycache__") == before


def test_no_target_is_refused_with_an_example(phasescope):
    answer = phasescope("inspect")
    assert answer.code == 2
    assert answer.err != ""


@pytest.mark.usefixtures("no_pictures")
def test_nothing_of_the_users_file_stays_behind(phasescope, models):
    path, modules = list(sys.path), set(sys.modules)
    assert phasescope("inspect", "models.py:with_batch").code == 0
    assert sys.path == path
    assert "models" not in set(sys.modules) - modules


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_is_one_line_exit_code_130_and_nothing_written(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n\n\ndef net():\n    pathlib.Path('started').touch()\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", "import sys; from phasescope.cli import main; sys.exit(main())"]
    running = subprocess.Popen(
        [*command, "inspect", "slow.py:net"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err == "phasescope: stopped with Ctrl-C; nothing was written.\n"
    assert not (tmp_path / "phasescope-inspect").exists()
