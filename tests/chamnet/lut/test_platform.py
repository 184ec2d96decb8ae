import pytest

from chamnet.errors import ConfigError
from chamnet.lut import Platform
from chamnet.testing import make_device, make_platform


def test_platform_of_a_device() -> None:
    platform = Platform.of(make_device("onnxruntime"))
    assert (platform.backend, platform.version, platform.provider, platform.cluster) == (
        "onnxruntime",
        "1",
        "P",
        0,
    )


def test_digest_ignores_the_name_alone() -> None:
    assert make_platform().digest != make_platform(version="2").digest
    assert len(make_platform().digest) == 12


def test_unknown_backend_names_the_usable_ones() -> None:
    with pytest.raises(ConfigError, match=r"'tflite' does not work.*usable: onnxruntime"):
        Platform.of(make_device("onnxruntime"), "tflite")


def test_unusable_backend_says_why() -> None:
    with pytest.raises(ConfigError, match="no package"):
        Platform.of(make_device("onnxruntime", why_not="no package"))
