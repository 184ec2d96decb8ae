import subprocess
import sys


def test_models_load_neither_torch_nor_onnx() -> None:
    code = "import sys, chamnet.models; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "onnx", "onnxruntime", "scipy", "pandas"} & set(done.stdout.split())
