"""The characters of a text as a task."""

import pytest
import torch

from phasescope.data import characters
from phasescope.errors import InputError


def train_text(text):
    return "".join(text[k * 400 : (k + 1) * 400] for k in range(len(text) // 400) if k % 5 != 4)


def test_a_window_is_followed_by_its_next_character_and_test_pieces_are_not_trained_on(tmp_path):
    text = "".join(chr(97 + (k * k + k // 400) % 23) for k in range(8000))
    (tmp_path / "own.txt").write_text(text)
    found = characters(tmp_path / "own.txt", train=10_000, test=10_000)
    letters = sorted(set(text), key=lambda c: (-train_text(text).count(c), c))
    assert list(found.letters) == letters
    decoded = found.x_train.view(len(found.x_train), 8, -1).argmax(-1)
    for row in (0, 17, 900):
        word = "".join(letters[int(code)] for code in [*decoded[row], found.y_train[row]])
        assert word in text
    assert len(found.x_train) == 16 * 392
    assert len(found.x_test) == 4 * 392
    assert found.x_train.square().mean(1).tolist() == pytest.approx([1.0] * len(found.x_train))


def test_a_rare_character_is_any_other(tmp_path):
    (tmp_path / "own.txt").write_text("ab" * 4000 + "q")
    found = characters(tmp_path / "own.txt", past=1, letters=1, train=5000, test=10)
    # "a" is told apart, all others share the class after it; one follows the other.
    assert found.letters == ("a",)
    seen = found.x_train.view(-1, 2).argmax(1)
    assert torch.equal(found.y_train, 1 - seen)


def test_case_and_white_space_do_not_count_and_the_bundled_text_is_english(tmp_path):
    (tmp_path / "own.txt").write_text("One  Two\nthree " * 400)
    assert set(characters(tmp_path / "own.txt").letters) == set("one two three ")
    assert characters(train=100, test=10).letters[:2] == (" ", "e")


def test_a_text_too_short_or_absent_is_refused(tmp_path):
    (tmp_path / "own.txt").write_text("much too it")
    with pytest.raises(InputError, match=r"The text has 11 characters.*4,000 or more"):
        characters(tmp_path / "own.txt")
    with pytest.raises(InputError, match="absent"):
        characters(tmp_path / "absent.txt")
