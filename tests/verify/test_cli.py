import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.pack_checks import flipped
from tests.builders.packs import Built, built
from wellspring_verify.cli import main


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(tmp_path_factory.mktemp("sound"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "wellspring_verify", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_it_exits_0_when_verified_and_10_without_a_key(
    sound: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([str(sound.folder), "--key", sound.write_keys(tmp_path), "--witness", sound.witness]) == 0
    assert capsys.readouterr().out.startswith("VERIFIED: drop:d0\n")
    for keys, unchecked in (
        ((), "SIGNER AND WITNESS AND SERVICES"),
        (("--key", sound.write_keys(tmp_path)), "WITNESS"),
        (("--key", sound.key, "--witness", sound.witness), "SERVICES"),
        (("--witness", sound.witness), "SIGNER AND SERVICES"),
    ):
        assert main([str(sound.folder), *keys]) == 10
        assert capsys.readouterr().out.startswith(f"CONSISTENT, {unchecked} NOT CHECKED: drop:d0\n")


def test_keys_may_stand_in_a_file(sound: Built, tmp_path: Path):
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{sound.key}\n{sound.witness}\n")
    assert main([str(sound.folder), "--key", str(keys), "--witness", str(keys)]) == 10
    keys.write_text("".join(f"{line}\n" for line in (*SERVICE_KEY_LINES, sound.witness, sound.key)))
    assert main([str(sound.folder), "--key", str(keys), "--witness", str(keys)]) == 0


def test_wrong_arguments_are_2_and_a_pack_that_is_not_there_is_66(sound: Built, tmp_path: Path):
    keys = tmp_path / "keys.txt"
    keys.write_text("nothing\n")
    pack = str(sound.folder)
    arguments = ([], ["nothing"], [sound.witness], [str(keys)], ["\0"], [pack])
    for error in (
        [],
        ["--what"],
        [pack, pack],
        [pack, "--witness", "x"],
        *([pack, "--key", *item] for item in arguments),
    ):
        assert main(error) == 2, error
    for error in ("nothing", str(keys), "\0", "x" * 5000):
        assert main([error, "--key", sound.key]) == 66
    assert main(["--help"]) == 0


def test_twenty_flipped_bits_exit_20_and_are_named(sound: Built, tmp_path: Path):
    chance = random.Random(3)
    files = sound.files()
    shutil.copytree(sound.folder, tmp_path / "pack")
    for name in [*files, *files][:20] + ["checkpoint"] * max(0, 20 - 2 * len(files)):
        (tmp_path / "pack" / name).write_bytes(flipped(files[name], chance.randrange(8 * len(files[name]))))
        done = run(str(tmp_path / "pack"), "--key", sound.key, "--witness", sound.witness)
        assert (done.returncode, done.stderr) == (20, "")
        assert done.stdout.startswith("CORRUPTED: ")
        assert name in done.stdout
        (tmp_path / "pack" / name).write_bytes(files[name])


def test_json_says_the_same(sound: Built, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    keys = sound.write_keys(tmp_path)
    assert main([str(sound.folder), "--key", keys, "--witness", keys, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == 0
    shutil.copytree(sound.folder, tmp_path / "pack")
    (tmp_path / "pack" / "story.md").unlink()
    assert main([str(tmp_path / "pack"), "--key", sound.key, "--json"]) == 20
    answer = json.loads(capsys.readouterr().out)
    assert (answer["subject"], answer["findings"][0]["file"]) == ("drop:d0", "story.md")


def test_nothing_in_a_hostile_pack_reaches_the_terminal(
    sound: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(sound.folder, tmp_path / "pack")
    (tmp_path / "pack" / "\x1b[2Jclear\n").touch()
    (tmp_path / "pack" / os.fsdecode(b"\xff")).touch()
    assert main([str(tmp_path / "pack"), "--key", sound.key]) == 20
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out


def test_it_loads_no_heavy_module(sound: Built):
    script = (
        "import sys, wellspring_verify.cli as c; c.main(sys.argv[1:])\n"
        "print([m for m in sys.modules if m.startswith(('wellspring.', 'pydantic', 'click'))])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(sound.folder)], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")
