"""Shell scripts of the pages, with the test in place of the programs that they call."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("python", "crnas-d2", "make", "pip", "git", "pre-commit")


def run_script(script: str, folder: Path, handle: Callable[[list[str]], None]) -> None:
    """Run a script in a folder; ``handle`` gets the words of each command of PROGRAMS."""
    words, to_test = os.pipe()
    answer, to_script = os.pipe()
    stubs = (
        f"hand() {{ printf '%s\\x1f' \"$@\" >&{to_test}; printf '\\x1e' >&{to_test};"
        f" read -r _ <&{answer}; }}\n"
    )
    stubs += "".join(f'{name}() {{ hand {name} "$@"; }}\n' for name in PROGRAMS)
    command = ["bash", "-e", "-c", stubs + script]
    bash = subprocess.Popen(
        command, cwd=folder, pass_fds=(to_test, answer), stderr=subprocess.PIPE, text=True
    )
    os.close(to_test)
    os.close(answer)
    try:
        text = ""
        while part := os.read(words, 2**16).decode():
            text += part
            if text.endswith("\x1e"):
                handle(text.split("\x1f")[:-1])
                text = ""
                os.write(to_script, b"done\n")
    finally:
        os.close(to_script)  # after a failure, the script ends at its next line
        os.close(words)
        _, errors = bash.communicate()
    assert bash.returncode == 0, errors


def printed_commands(script: str, folder: Path) -> list[str]:
    """The calls of ``python`` that a script makes in a folder; none of them is run."""
    commands = []
    run_script(script, folder, commands.append)
    return [" ".join(words) for program, *words in commands if program == "python"]
