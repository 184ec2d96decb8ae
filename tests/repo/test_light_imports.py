"""What a fresh interpreter loads: an agent must start quickly on a phone, and a command on a desk."""

import subprocess
import sys

import pytest

RUNTIMES = ("ai_edge_litert", "onnxruntime", "tflite_runtime", "torch")
# The command line itself is made of typer and rich.
HEAVY_FOR_HOST = ("botorch", "gpytorch", "onnx", "pandas", "pyarrow", "scipy", "sklearn", *RUNTIMES)
HEAVY = (*HEAVY_FOR_HOST, "rich", "typer")


def loaded_by(module: str) -> set[str]:
    """Return the top-level names in `sys.modules` after a fresh interpreter imports `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("chamnet_agent.server", HEAVY),
        ("chamnet_agent.cli", HEAVY),
        ("chamnet_agent.worker", HEAVY),
        ("chamnet_host.cli", HEAVY_FOR_HOST),
    ],
)
def test_importing_an_application_loads_nothing_heavy(module: str, heavy: tuple[str, ...]) -> None:
    assert loaded_by(module) & set(heavy) == set()


@pytest.mark.parametrize("command", ["search", "compare", "predict", "explain"])
def test_commands_that_only_ask_the_store_load_no_grpc(command: str) -> None:
    assert loaded_by(f"chamnet_host.commands.{command}") & {"grpc", *HEAVY_FOR_HOST} == set()
