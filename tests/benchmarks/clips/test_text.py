import numpy as np

from benchmarks.clips.text import tokens, vocabulary, words
from models.spec import TextSpec


def test_words_are_lower_case_runs_of_letters_digits_and_apostrophes():
    assert words("It's 2 Bälle – links_rechts!") == ["it's", "2", "bälle", "links", "rechts"]
    assert words("") == []


def test_vocabulary_is_sorted_by_frequency_then_alphabet_and_bounded():
    assert vocabulary(["b b c a", "c"], max_words=10) == ("b", "c", "a")
    assert vocabulary(["b b c a", "c"], max_words=2) == ("b", "c")


def test_tokens_are_cut_padded_and_know_unknown_words():
    spec = TextSpec(length=3, vocabulary=("left", "right"))
    found = tokens(["Right left", "up", "", "left left left right"], spec)
    assert found.dtype == np.int64
    assert found.tolist() == [[3, 2, 0], [1, 0, 0], [0, 0, 0], [2, 2, 2]]
