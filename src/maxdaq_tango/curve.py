"""Keys of our own sockets: CURVE, the encryption that ZeroMQ brings along.

Source: ZMTP 3.1 CURVE (rfc.zeromq.org/spec/26), libzmq's zmq_curve. Detectors speak without it; it is for what is ours
on both ends: simulators, replays and receivers.

Who binds has a pair in a key file, and who connects knows its public key: without it, or with that of somebody else,
nothing passes. Whoever knows that key may connect, unless the file names those who may. A secret key is in its file,
which nobody but its owner may read, and nowhere else: paths travel in requests, options and receipts, keys do not.

    # maxdaq: a pair of CURVE keys ...
    public = ...40 characters, Z85...
    secret = ...
    allow = <public key of one who may connect>         any number of times; none = everybody who knows our public key
"""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path
from typing import Any, NamedTuple

import zmq
import zmq.auth.thread
from zmq.utils import z85

from maxdaq_tango.errors import ConfigurationError

_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_ANSWER = "not a public key"
_HEAD = """\
# maxdaq: a pair of CURVE keys. Whoever can read this file can pass for its owner; `public` is for everybody.
# Lines `allow = PUBLIC KEY` name those who may connect to a socket with this key; without them all who know `public`.
"""
_DOMAIN = "maxdaq"
Doorman = zmq.auth.thread.ThreadAuthenticator
"""Answers for a context who may connect. To be stopped before its context ends."""


class KeyPair(NamedTuple):
    """What is in a key file."""

    public: str
    secret: bytes
    allowed: tuple[str, ...]

    def __repr__(self) -> str:
        return f"KeyPair({self.public!r}, secret kept)"


def make_keys(path: Path) -> str:
    """A new pair in a new file that its owner alone can read; returns the public key. ConfigurationError."""
    public, secret = zmq.curve_keypair()
    text = f"{_HEAD}public = {public.decode()}\nsecret = {secret.decode()}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        answer = error.strerror or str(error)
        raise ConfigurationError(f"make the key file {path}", answer=answer, accepted="a new name") from None
    with open(handle, "w") as file:
        file.write(text)
    return public.decode()


def read_keys(path: str | os.PathLike[str]) -> KeyPair:
    """The pair in a key file. ConfigurationError, in which no key is."""
    asked, accepted = f"read the key file {os.fspath(path)}", "a file made by `maxdaq keys FILE`, readable by you alone"
    try:
        with open(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1 << 16)
    except (OSError, UnicodeDecodeError) as error:
        answer = getattr(error, "strerror", None) or "no text"
        raise ConfigurationError(asked, answer=answer, accepted=accepted) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        answer = f"others may read or change it: mode {stat.S_IMODE(mode):o}"
        raise ConfigurationError(asked, answer=answer, accepted=f"chmod 600 {os.fspath(path)}")
    words: dict[str, list[str]] = {"public": [], "secret": [], "allow": []}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.startswith("#"):
            continue
        if name not in words or not equals or not is_key(value):
            raise ConfigurationError(asked, answer=f"line {number} is no key", accepted=accepted)
        words[name].append(value)
    if len(words["public"]) != 1 or len(words["secret"]) != 1:
        raise ConfigurationError(asked, answer="not one public and one secret key", accepted=accepted)
    public, secret = words["public"][0], words["secret"][0].encode()
    if zmq.curve_public(secret).decode() != public:
        raise ConfigurationError(asked, answer="its two keys are no pair", accepted=accepted)
    return KeyPair(public, secret, tuple(words["allow"]))


def is_key(text: str) -> bool:
    """Whether it can be a key in Z85."""
    if not _KEY.fullmatch(text):
        return False
    try:
        return len(z85.decode(text)) == 32
    except (ValueError, KeyError, struct.error):  # the last: five characters of more than four bytes
        return False


def checked_server_key(key: str) -> str:
    """The public key of a sender, or "" for none. ConfigurationError."""
    if key and not is_key(key):
        raise ConfigurationError(
            "take the public key of a sender", answer=_ANSWER, accepted="the 40 characters that `maxdaq keys` prints"
        )
    return key


def guard(context: zmq.Context[Any], socket: zmq.Socket[Any], key_file: str) -> Doorman | None:
    """Before `socket` binds: only who has the keys gets in. "" = it stays open to everybody. ConfigurationError."""
    if not key_file:
        return None
    pair = read_keys(key_file)
    socket.curve_secretkey = pair.secret
    socket.curve_server = True
    if not pair.allowed:
        return None
    doorman = Doorman(context)
    doorman.start()
    doorman.configure_curve_callback(_DOMAIN, credentials_provider=_Allowed(pair.allowed))
    socket.zap_domain = _DOMAIN.encode()
    return doorman


def identify(socket: zmq.Socket[Any], server_key: str, key_file: str = "") -> None:
    """Before `socket` connects to who has `server_key`; without a key file as somebody unknown. ConfigurationError."""
    if not checked_server_key(server_key):
        if key_file:
            raise ConfigurationError(
                f"connect with the key file {key_file}",
                answer="the public key of the sender is not given",
                accepted="CurveServerKey, --curve-server-key",
            )
        return
    if key_file:
        pair = read_keys(key_file)
        public, secret = pair.public.encode(), pair.secret
    else:
        public, secret = zmq.curve_keypair()
    socket.curve_serverkey = server_key.encode()
    socket.curve_publickey = public
    socket.curve_secretkey = secret


class _Allowed:
    """What the doorman asks."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = {key.encode() for key in keys}

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether this public key, in Z85, may connect."""
        return key in self._keys
