"""Fuzz the decoders for a while.

    python -m tests.fuzz.run --seconds 600                 (or: make fuzz SECONDS=600)
    python -m tests.fuzz.run --seconds 60 protobuf json    only these
    python -m tests.fuzz.run --replay build/fuzz/crash-…   one input again

With atheris (libFuzzer, guided by coverage) where it is installed, each target in a process of its own; otherwise
with hypothesis, which changes the seeds at random. Inputs that break something are kept in build/fuzz, and then it
ends with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60, help="for all of them together")
    parser.add_argument("--engine", choices=("atheris", "hypothesis"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replay is not None:
        return _replay(options.replay)
    engine = options.engine or ("atheris" if importlib.util.find_spec("atheris") else "hypothesis")
    if options.in_this_process:
        (name,) = options.targets
        return _with_atheris(name, options.seconds) if engine == "atheris" else _with_hypothesis(name, options.seconds)
    from tests.fuzz.targets import TARGETS

    names = options.targets or list(TARGETS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    broken = []
    for name in names:
        share = options.seconds / len(names)
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--in-this-process", f"--engine={engine}"]
        log = FOLDER / f"{name}.log"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with log.open("wb") as out:
            code = subprocess.run([*command, f"--seconds={share}"], cwd=ROOT, stdout=out, stderr=out).returncode
        if "\nDone " in log.read_text("utf-8", "replace"):  # the engine does not like how libFuzzer leaves a process
            code = 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        outcome = f"BROKEN: {log}" if code else "ok"
        print(f"{name:<12} {engine}, {_runs(log):>9} inputs, {spent:6.1f} CPU-s, {outcome}", flush=True)
        broken += [name] if code else []
    return 1 if broken else 0


def _runs(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.startswith(("Done ", "#"))]
    words = lines[-1].replace("#", "").split() if lines else ["?"]
    return words[1] if words[0] == "Done" else words[0]


def _with_atheris(name: str, seconds: float) -> int:
    import atheris

    with atheris.instrument_imports(
        include=[f"maslens.{room}" for room in ("collector_processor", "storage", "cli", "instrumentation")]
    ):
        from tests.fuzz.targets import TARGETS, check
    corpus = FOLDER / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    TARGETS[name].ready()
    options = [f"-max_total_time={int(max(1, seconds))}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=3000"]
    atheris.Setup([name, str(corpus), *options, f"-artifact_prefix={FOLDER / name}-"], lambda data: check(name, data))
    atheris.Fuzz()
    return 0


def _with_hypothesis(name: str, seconds: float) -> int:
    from tests.fuzz.mutations import explore

    print(f"Done {explore(name, seconds=seconds, keep=FOLDER)} inputs")
    return 0


def _replay(path: Path) -> int:
    from tests.fuzz.targets import TARGETS, check

    name = next(name for name in TARGETS if path.name.startswith(f"{name}-"))
    started = time.process_time()
    check(name, path.read_bytes())
    print(f"{name}: fine, {time.process_time() - started:.2f} CPU-s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
