from argparse import ArgumentParser
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet_agent.settings import BackendSettings, add_settings, settings_of
from chamnet_host.profiles import DeviceProfile, find_profile, load_profile, shipped_profiles


def write(folder: Path, text: str, name: str = "board") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_local_is_shipped() -> None:
    assert find_profile("local").transport == "local"
    assert "local" in [profile.name for profile in shipped_profiles()]


def test_an_address_needs_no_profile() -> None:
    assert find_profile("127.0.0.1:8799") == DeviceProfile(
        name="127.0.0.1:8799", transport="direct", address="127.0.0.1:8799"
    )


def test_the_named_folder_comes_first(tmp_path: Path) -> None:
    write(tmp_path, "description = 'mine'", "local")
    assert find_profile("local", tmp_path).description == "mine"


@pytest.mark.parametrize("target", ["pixel99", "host:port", ":80", "127.0.0.1:99999"])
def test_unknown_target_lists_the_known(target: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown target .*local.*HOST:PORT"):
        find_profile(target)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 'red'", r"unknown keys \['colour'\]; see device_profiles/README.md"),
        ("threads = 'two'", "threads = 'two' is of the wrong kind"),
        ("threads = 0", "at least 1"),
        ("transport = 'pigeon'", "unknown transport 'pigeon'"),
        ("transport = 'direct'", "needs an address"),
        (
            "transport = 'direct'\naddress = 'a:1'\ndelegate = '/x.so'",
            "give --delegate=/x.so to `chamnet-agent serve` there",
        ),
        ("transport = 'adb'", "needs a bundle, such as bundle = 'android-aarch64'"),
        (
            "transport = 'adb'\nbundle = 'android-aarch64'\naddress = '{serial}:8799'\ntls = '/certificates'",
            "tls needs {serial}",
        ),
        ("transport = ", "cannot be read as TOML"),
    ],
)
def test_bad_profiles_are_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_profile(write(tmp_path, text))


def test_what_backends_are_told_is_what_the_agent_reads(tmp_path: Path) -> None:
    text = """
        native_tool = "/data/local/tmp/benchmark_model"
        native_tool_args = "ADSP_LIBRARY_PATH=/x --use_gpu=true"
        delegate = "/vendor/lib64/libfoo.so"
        delegate_options = "level=3 'name=a b'"
    """
    parser = ArgumentParser()
    add_settings(parser)
    settings = settings_of(parser.parse_args(load_profile(write(tmp_path, text)).agent_flags))
    assert settings == BackendSettings(
        native_tool=Path("/data/local/tmp/benchmark_model"),
        native_tool_args=("ADSP_LIBRARY_PATH=/x", "--use_gpu=true"),
        delegate=Path("/vendor/lib64/libfoo.so"),
        delegate_options=(("level", "3"), ("name", "a b")),
    )


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        find_profile("local", tmp_path / "no")


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parents[2] / "device_profiles" / "README.md").read_text()
    for key in DeviceProfile.__dataclass_fields__:
        assert key == "name" or f"| `{key}` |" in text


def test_what_is_shipped_claims_no_hardware_it_has_not_seen() -> None:
    folder = Path(__file__).parents[2] / "device_profiles"
    shipped = {path.stem: load_profile(path) for path in folder.glob("*.toml")}
    assert {name for name, profile in shipped.items() if profile.verified_on} == {"local"}
    listed = (folder / "README.md").read_text()
    assert [name for name in shipped if f"`{name}`" not in listed] == []
