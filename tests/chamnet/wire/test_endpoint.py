from pathlib import Path

import pytest

from chamnet.errors import ConfigError, TokenError
from chamnet.wire.endpoint import Endpoint, default_state_dir, is_loopback, read_token

ENDPOINT = Endpoint(
    pid=1, host="127.0.0.1", port=8799, started_unix_ms=2, token_file="/somewhere/token", version="0.1"
)


def test_what_is_saved_is_loaded_until_it_is_forgotten(tmp_path: Path) -> None:
    assert Endpoint.load(tmp_path) is None
    ENDPOINT.save(tmp_path)
    assert Endpoint.load(tmp_path) == ENDPOINT
    assert [path.name for path in tmp_path.iterdir()] == ["agent.json"]
    Endpoint.forget(tmp_path)
    Endpoint.forget(tmp_path)
    assert Endpoint.load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', '{"surprise": 1}'])
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "agent.json").write_text(text)
    with pytest.raises(ConfigError, match=r"agent\.json: not an agent's file"):
        Endpoint.load(tmp_path)


def test_the_state_directory_follows_the_desktop_convention(tmp_path: Path) -> None:
    assert default_state_dir({"XDG_STATE_HOME": "/x", "HOME": "/y"}) == Path("/x/chamnet-agent")
    assert default_state_dir({"HOME": "/y"}) == Path("/y/.local/state/chamnet-agent")
    assert default_state_dir({}).name == "chamnet-agent"


def test_addresses_of_either_kind_can_be_dialled() -> None:
    assert ENDPOINT.address == "127.0.0.1:8799"
    assert (
        Endpoint(pid=1, host="::1", port=9, started_unix_ms=0, token_file="", version="").address == "[::1]:9"
    )


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("", False), ("::", False), ("192.168.0.2", False), ("127.evil.example", False), ("127.a.b.example", False)],
)  # fmt: skip
def test_only_loopback_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("secret\n")
    assert read_token(tmp_path / "token") == "secret"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_missing_token_says_where_it_lies(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(TokenError, match="token"):
        read_token(tmp_path / "token")
