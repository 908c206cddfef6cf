"""What may stand in the place of a file: each would hang, never end or take all memory if it were read."""

import os


def fifo(path):
    os.mkfifo(path)


def never_ending(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path)


def folder(path):
    path.mkdir()


def sparse(path):
    with path.open("wb") as file:
        file.truncate(10**13)


ALL = [fifo, never_ending, loop, folder, sparse]
