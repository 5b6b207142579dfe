"""How `evaluate` shows its figures."""

import json

import numpy as np
from PIL import Image

from client.cli import report

RANDOM = np.random.default_rng(0)
DISTANCE = np.concatenate([RANDOM.normal(0.7, 0.2, 300), RANDOM.normal(1.4, 0.1, 300)])
SAME = np.repeat([True, False], 300)


def measured(embedding_id="facenet-1", left_out=0):
    fold = np.tile(np.arange(2), 300)
    return report.measure(embedding_id, DISTANCE, SAME, fold, left_out, photos=807, seconds=40.35)


def test_the_figures_agree_with_one_another():
    found = measured()
    assert found.photos_per_second == 20
    assert found.folds == 2
    assert 0.95 < found.accuracy <= 1
    assert found.accepted_at_one_in_thousand == 1 - found.operations["at most 0.1 % false accepts"].false_rejects
    assert found.best_threshold == found.operations["highest accuracy"].threshold


def test_json_holds_every_figure():
    found = json.loads(report.as_json(measured()))
    assert found["embedding_id"] == "facenet-1"
    assert set(found["operations"]["equal errors"]) == {"threshold", "false_accepts", "false_rejects"}


def test_markdown_says_what_was_measured_and_what_was_left_out():
    text = report.as_markdown(measured(left_out=3))
    assert "600 pairs of 807 photos (2 folds, 3 more left out for want of a face)." in text
    assert all(len(line.split("|")) in (1, 6) for line in text.splitlines())


def test_a_section_of_a_document_is_replaced_and_the_rest_left_alone(tmp_path):
    path = tmp_path / "accuracy.md"
    path.write_text("# Accuracy\n\nBefore.\n")
    report.update_document(path, measured("facenet-1"))
    report.update_document(path, measured("arcface-1"))
    first = path.read_text()
    path.write_text(first.replace("807 photos", "9 photos") + "\nAfter.\n")
    report.update_document(path, measured("facenet-1"))
    report.update_document(path, measured("arcface-1"))
    assert path.read_text() == first + "\nAfter.\n"


def test_a_document_that_is_not_there_is_begun(tmp_path):
    report.update_document(tmp_path / "accuracy.md", measured())
    assert (tmp_path / "accuracy.md").read_text().startswith("<!-- evaluated facenet-1 -->\n### facenet-1\n")


def test_the_roc_is_a_picture_with_a_curve_on_it(tmp_path):
    report.plot_roc(tmp_path / "roc.png", measured(), DISTANCE, SAME)
    with Image.open(tmp_path / "roc.png") as image:
        assert image.size == (720, 600)
        assert (31, 119, 180) in {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}  # the curve's blue
