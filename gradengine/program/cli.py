"""The command `gradengine`: demo, info, doctor, selftest and kernels.

Each command imports what it needs when it runs, so that `gradengine doctor` works on a machine
where nothing else does. Errors of ours end the program with their message and status 1, without a
traceback; anything else is a bug and shows one.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gradengine.errors import GradengineError
from gradengine.program import diagnostics


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] | None = getattr(options, "run", None)
    if command is None:
        parser.print_help()
        return 2
    try:
        return command(options)
    except GradengineError as error:
        print(f"gradengine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run` to a function of the parsed options."""
    import gradengine
    from gradengine.cuda import cli as kernels
    from gradengine.program import demo

    parser = argparse.ArgumentParser(
        "gradengine", description=(gradengine.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--version", action="version", version=gradengine.__version__)
    commands = parser.add_subparsers(metavar="COMMAND")
    train = _add(commands, "demo", "train a network on real handwritten digits", demo.command)
    demo.add_arguments(train)
    _add(commands, "info", "versions, devices, caches: paste it into a bug report", info)
    _add(
        commands, "doctor", "what is wrong with the GPU set-up, and the line that mends it", doctor
    )
    check = _add(commands, "selftest", "check every op on this machine's hardware", selftest)
    check.add_argument("--device", default="cpu", help='"cpu" (default), "cuda", "cuda:1"')
    check.add_argument("--op", action="append", help="only this op; may be repeated")
    check.add_argument("--quick", action="store_true", help="first derivatives only")
    kernels.add_parser(commands)
    return parser


def _add(
    commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.set_defaults(run=run)
    return parser


# --- commands ------------------------------------------------------------------------------------


def info(options: argparse.Namespace) -> int:
    """`gradengine info`."""
    import gradengine
    from gradengine.cuda import kernels

    machine = diagnostics.inspect_machine()
    print(diagnostics.info(machine, gradengine.__version__, str(kernels.cache_folder())))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """`gradengine doctor`: status 1 if something is to be mended."""
    machine = diagnostics.inspect_machine()
    findings = diagnostics.examine(machine)
    if machine.driver.gpus and not any(finding.level == "error" for finding in findings):
        findings.append(try_gpu())
    print(diagnostics.report(findings))
    return int(any(finding.level == "error" for finding in findings))


def selftest(options: argparse.Namespace) -> int:
    """`gradengine selftest`: status 1 if any op is wrong on this machine."""
    from tqdm import tqdm

    from gradengine.op import registry
    from gradengine.program.selftest import check

    unknown = set(options.op or ()) - registry.keys()
    if unknown:
        close = difflib.get_close_matches(sorted(unknown)[0], registry, n=1)
        hint = f"did you mean {close[0]}?" if close else "leave --op out to check all"
        print(f"selftest: no op is called {sorted(unknown)[0]}\n  hint: {hint}", file=sys.stderr)
        return 2
    ops = calls = wrong = 0
    started = time.perf_counter()
    bar = tqdm(
        check(options.op, options.device, order=1 if options.quick else 2),
        total=len(options.op or registry),
        unit="op",
        disable=None,
    )
    for verdict in bar:
        ops, calls, wrong = ops + 1, calls + verdict.calls, wrong + bool(verdict.problems)
        for problem in verdict.problems:
            bar.write(f"WRONG {verdict.name}({problem})")
    seconds = time.perf_counter() - started
    outcome = f"{wrong} wrong" if wrong else "all right"
    print(f"{options.device}: {ops} ops, {calls} calls, {outcome} ({seconds:.0f} s)")
    return int(wrong > 0)


def try_gpu() -> diagnostics.Finding:
    """A first gradient on the GPU: the one thing that facts about packages cannot promise."""
    import gradengine as ge

    try:
        slope = ge.grad(ge.sin)(ge.zeros((), device="cuda")).item()
    except Exception as error:  # whatever it is, the doctor is here to tell it
        return diagnostics.Finding(
            "error", f"a first gradient on the GPU fails: {error!r}", "gradengine info"
        )
    if slope != 1:
        return diagnostics.Finding("error", f"the GPU computes wrong gradients: {slope} for 1")
    return diagnostics.Finding("ok", "a first gradient on the GPU is right")
