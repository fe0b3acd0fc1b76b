"""Running commands, telling what happens, locks and files that are there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .settings import LOCKS

_START: Final = time.monotonic()


class SetupError(Exception):
    """Ends the program with its text: what failed and what to do next."""


def step(text: str) -> None:
    """One line for the person who waits, with the seconds since the start."""
    print(f"[{time.monotonic() - _START:5.0f}s] {text}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Return standard output of a command. Raises SetupError with the end of what it said when it fails."""
    done = attempt(*command, env=env, cwd=cwd, stdin=stdin, timeout=timeout)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise SetupError(f"{' '.join(map(str, command))} failed with code {done.returncode}:\n{said}")
    return done.stdout


def attempt(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Like `run`, but the caller looks at the return code; a command that is missing or too slow has 127."""
    merged = {**os.environ, **(env or {})}
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {}
    try:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [str(part) for part in command],
            env=merged,
            cwd=cwd,
            input=stdin,
            timeout=timeout,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            **source,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def succeeds(*command: str | Path, env: Mapping[str, str] | None = None, timeout: float | None = None) -> bool:
    """Return whether a command ends with 0."""
    return attempt(*command, env=env, timeout=timeout).returncode == 0


def pipe(source: Sequence[str | Path], sink: Sequence[str | Path], env: Mapping[str, str]) -> None:
    """source | sink, without a shell. Raises SetupError when either fails."""
    merged = {**os.environ, **env}
    with tempfile.TemporaryFile("w+") as said:
        left = subprocess.Popen([str(part) for part in source], stdout=subprocess.PIPE, stderr=said, env=merged)
        right = subprocess.run(
            [str(part) for part in sink], stdin=left.stdout, stdout=said, stderr=said, env=merged, check=False
        )
        assert left.stdout is not None
        left.stdout.close()
        if left.wait() or right.returncode:
            said.seek(0)
            raise SetupError(
                f"{' '.join(map(str, source))} | {' '.join(map(str, sink))} failed:\n{said.read()[-2000:]}"
            )


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = 0.2) -> bool:
    """Return whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(interval)
    return True


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Between processes: one at a time. The kernel frees it when its holder dies."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            step(f"waiting for another run that works on {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A new folder that becomes `target` when the block ends well, and goes away when it doesn't.

    A run that was killed leaves a folder of that name pattern behind: the next one removes it (the caller holds the
    lock).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for stray in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(stray, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    folder.chmod(0o755)
    try:
        yield folder
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def together(*tasks: Callable[[], object]) -> None:
    """Run tasks side by side; raises the first failure once all have ended."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file's content in one go, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    new.chmod(mode)
    new.rename(path)
