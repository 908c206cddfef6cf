"""What only some systems have is asked for first: the package works where it is missing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import phasescope

SOURCE = Path(phasescope.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# Of Unix alone; of some Unix alone.
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
OS = {
    *("O_CLOEXEC", "O_DIRECTORY", "O_DIRECT", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "O_TMPFILE"),
    *("chown", "chroot", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg"),
    *("getpgid", "getpgrp", "getpriority", "getsid", "getuid", "initgroups", "killpg", "lchown", "lockf"),
    *("memfd_create", "mkfifo", "mknod", "nice", "posix_fadvise", "posix_fallocate", "posix_spawn", "pread"),
    *("preadv", "pwrite", "pwritev", "register_at_fork", "sched_getaffinity", "sched_setaffinity"),
    *("sched_yield", "sendfile", "setgid", "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync"),
    *("sysconf", "tcgetpgrp", "tcsetpgrp", "uname", "wait", "wait3", "wait4"),
}
SIGNAL = {
    *("ITIMER_PROF", "ITIMER_REAL", "ITIMER_VIRTUAL", "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL"),
    *("SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIG_BLOCK"),
    *("SIG_SETMASK", "SIG_UNBLOCK", "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask"),
    *("setitimer", "siginterrupt", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo"),
}
MMAP = {"MADV_DONTNEED", "MAP_ANONYMOUS", "MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"}
OF = {"os": OS, "signal": SIGNAL, "mmap": MMAP}
TOGETHER = {"SIG_BLOCK": "pthread_sigmask", "SIG_SETMASK": "pthread_sigmask"}  # where the second one is there


def unguarded(source: str) -> list[str]:
    """Return what a file takes from one kind of system without asking whether it is there."""
    tree = ast.parse(source)
    asked = {
        f"{ast.unparse(node.args[0])}.{node.args[1].value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "hasattr"
        if isinstance(node.args[1], ast.Constant)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names} & OF.get(node.module or "", set())
            found += [f"{node.module}.{name}" for name in sorted(names)]
            found += [node.module] if node.module in MODULES else []
        elif isinstance(node, ast.Attribute) and node.attr in OF.get(ast.unparse(node.value), ()):
            of = ast.unparse(node.value)
            if f"{of}.{TOGETHER.get(node.attr, node.attr)}" not in asked:
                found.append(f"{of}.{node.attr}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_one_kind_of_system_lacks_is_asked_for(path):
    assert unguarded(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import fcntl",
        "from resource import getrusage",
        "os.fork()",
        "from os import sysconf",
        "signal.signal(signal.SIGALRM, stop)",
        "signal.setitimer(signal.ITIMER_REAL, 1)",
        "flags = os.O_RDONLY | os.O_NOFOLLOW",
        "if hasattr(os, 'fork'): os.sysconf('SC_PAGE_SIZE')",
    ],
)
def test_the_rule_sees_what_is_not_asked_for(code):
    assert unguarded(code)


def test_the_rule_lets_pass_what_is_asked_for():
    assert unguarded("if hasattr(os, 'sysconf'): os.sysconf('SC_PAGE_SIZE')\nos.fsync(file.fileno())") == []


POOR = """
import os, mmap, pkgutil, importlib, signal, sys, tempfile
from pathlib import Path
import phasescope

def everything():
    walked = pkgutil.walk_packages(phasescope.__path__, prefix="phasescope.")
    return [importlib.import_module(info.name) for info in walked if not info.name.endswith("__main__")]

count = len(everything())  # with all that it needs of others, which stays as it is
import torch
kept = {name: module for name, module in sys.modules.items() if not name.startswith("phasescope")}
sys.modules.clear()
sys.modules.update(kept)
for name in MODULES:
    sys.modules[name] = None
for module, names in ((os, OS), (signal, SIGNAL), (mmap, MMAP)):
    for name in names:
        # The standard library decided on import what it uses, so that these two must stay for it.
        if hasattr(module, name) and name not in ("statvfs", "O_TMPFILE"):
            delattr(module, name)

import phasescope
assert len(everything()) == count > 200
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8))
assert "phase" in str(phasescope.signal.profile(model, torch.randn(8, 8))).lower()
with tempfile.TemporaryDirectory() as folder:
    phasescope.sweep.files.write_whole(Path(folder) / "note.txt", "kept")
    assert phasescope.regular_files.read_regular(Path(folder) / "note.txt") == b"kept"
    recorded = phasescope.recording.memory.allocate([(3, 4)], "f8", 1.0, folder)
    phasescope.recording.memory.let_go(recorded[0])
with phasescope.sweep.executors._interrupts_held():
    pass
assert phasescope.studies.circumstances.cores() >= 1
assert phasescope.cli.study._free_memory() > 0
print("works")
"""


@pytest.mark.slow
def test_every_module_imports_and_works_without_what_only_unix_has():
    given = "".join(f"{name} = {sorted(globals()[name])}\n" for name in ("MODULES", "OS", "SIGNAL", "MMAP"))
    done = subprocess.run([sys.executable, "-c", given + POOR], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "works"
