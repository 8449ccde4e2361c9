"""Key files: made for their owner alone, and never shown."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import zmq

from maxdaq_tango.cli.main import main
from maxdaq_tango.curve import checked_server_key, identify, is_key, make_keys, read_keys
from maxdaq_tango.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.key"
    make_keys(path)
    return path


def test_a_pair_is_made_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        public = make_keys(tmp_path / "a.key")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    pair = read_keys(tmp_path / "a.key")
    assert pair.public == public
    assert zmq.curve_public(pair.secret).decode() == public
    assert pair.allowed == ()


def test_no_key_file_is_ever_replaced(file: Path, tmp_path: Path) -> None:
    before = file.read_text()
    with pytest.raises(ConfigurationError, match=r"File exists. Accepted: a new name"):
        make_keys(file)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="File exists"):
        make_keys(tmp_path / "link")
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        make_keys(tmp_path / "no" / "a.key")
    assert file.read_text() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_key_file_that_others_can_read_or_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"others may .*: mode .*chmod 600"):
        read_keys(file)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda text: "", "not one public and one secret key"),
        (lambda text: text.replace("secret", "# secret", 1).replace("\nsecret", "\n# secret"), "not one public and"),
        (lambda text: text + text, "not one public and one secret"),
        (lambda text: text + "allow = nobody\n", "line 5 is no key"),
        (lambda text: text + "hello\n", "line 5 is no key"),
        (lambda text: text.replace("public = ", "public = x"), "line 3 is no key"),
        (lambda text: text.replace("\nsecret = ", "\nsecret = \n# "), "line 4 is no key"),
    ],
)
def test_what_is_no_key_file_is_refused_without_telling_what_is_in_it(file: Path, change: object, answer: str) -> None:
    secret = read_keys(file).secret.decode()
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=answer) as caught:
        read_keys(file)
    assert secret not in str(caught.value)


def test_two_keys_that_are_no_pair_are_refused(file: Path, tmp_path: Path) -> None:
    other = make_keys(tmp_path / "b.key")
    file.write_text(file.read_text().replace(read_keys(file).public, other))
    with pytest.raises(ConfigurationError, match="its two keys are no pair"):
        read_keys(file)


def test_a_key_file_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No such file.*maxdaq keys FILE"):
        read_keys(tmp_path / "none.key")
    (tmp_path / "binary").touch(0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no text"):
        read_keys(tmp_path / "binary")


def test_a_pair_is_not_shown_with_its_secret(file: Path) -> None:
    pair = read_keys(file)
    assert pair.secret.decode() not in f"{pair} {pair!r}"
    assert pair.public in repr(pair)


def test_those_who_may_connect_are_named_in_the_file(file: Path, tmp_path: Path) -> None:
    friend = make_keys(tmp_path / "b.key")
    with file.open("a") as out:
        out.write(f"\nallow = {friend}\n")
    assert read_keys(file).allowed == (friend,)


@pytest.mark.parametrize("text", ["", "short", "x" * 39, "x" * 41, "~" * 40, "é" * 40, "#" * 40])
def test_what_can_be_no_key(text: str) -> None:
    assert not is_key(text)
    if text:
        with pytest.raises(ConfigurationError, match="not a public key"):
            checked_server_key(text)


def test_a_key_file_alone_makes_no_encrypted_connection(file: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PULL)
    try:
        with pytest.raises(ConfigurationError, match="the public key of the sender is not given"):
            identify(socket, "", str(file))
    finally:
        context.destroy(0)


def test_the_command_prints_the_public_key_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.key"
    with pytest.raises(SystemExit) as ended:
        main(["keys", str(path), "--json"])
    assert not ended.value.code
    told = capsys.readouterr()
    pair = read_keys(path)
    assert json.loads(told.out) == {"file": str(path), "public": pair.public}
    assert pair.secret.decode() not in told.out + told.err
    with pytest.raises(SystemExit) as ended:
        main(["keys", str(path)])
    assert ended.value.code == 2
    assert "File exists" in capsys.readouterr().err
