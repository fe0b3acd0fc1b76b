"""Takes out of a folder of installed packages what the image never imports, and proves that the rest still imports.

The Kubernetes client is two in one: the asynchronous one, which we use, and the synchronous one (33 MB on disk; its
package imports it at once, which costs every process memory and start-up time). What stays of it is 40 MB of generated
code, most of it comments: kept as byte code without them, 14 MB. All else is kept as source and byte code.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

SYNCHRONOUS = ("client", "config", "dynamic", "informer", "leaderelection", "stream", "utils", "watch")
WANTED = (
    "kopf, kubernetes.aio.client, kubernetes.aio.config, pydantic, pydantic_settings, httpx, fastapi, uvicorn, blake3, "
    "yaml, cryptography.x509, prometheus_client"
)
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main(root: Path) -> None:
    package = root / "kubernetes"
    for name in SYNCHRONOUS:
        shutil.rmtree(package / name)
    lines = (package / "__init__.py").read_text().splitlines()
    version = next(line for line in lines if line.startswith("__version__"))
    (package / "__init__.py").write_text(f'"""Only the asynchronous client: see kubernetes.aio."""\n\n{version}\n')
    for folder in (root / "bin", *root.rglob("tests"), *root.rglob("__pycache__")):
        shutil.rmtree(folder, ignore_errors=True)
    for source in (file for ending in ("pyx", "pxd", "pyi", "c", "h") for file in root.rglob(f"*.{ending}")):
        source.unlink()
    generated = package / "aio" / "client"
    compileall.compile_dir(generated, quiet=1, legacy=True, optimize=2, workers=0, invalidation_mode=UNCHECKED)
    for source in generated.rglob("*.py"):
        source.unlink()
    compileall.compile_dir(root, quiet=1, workers=0, invalidation_mode=UNCHECKED)
    environment = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", f"import {WANTED}"], env=environment, check=True)


main(Path(sys.argv[1]))
