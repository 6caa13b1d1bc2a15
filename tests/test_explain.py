# SPDX-License-Identifier: Apache-2.0
"""`jaxent.explain`, and its command: the seeds' puzzles, and what it refuses."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jaxent
from jaxent.__main__ import main

pytestmark = pytest.mark.quickly_compiled

LABELS, PROBS = [0, 0, 1], [0.3, 0.7, 0.0]
ROWS, ROW_PROBS = [[0, 0, 1], [0, 1, 0]], [[0.3, 0.7, 0.0], [0.5, 0.2, 0.3]]


@pytest.fixture(scope="module")
def puzzle():
    return jaxent.explain(LABELS, PROBS, got="12.033141381058451")


def numbers(found, framework, call):
    return [
        r.number
        for r in found.readings
        if (r.convention.framework, r.convention.call) == (framework, call)
    ]


def test_the_seed_s_puzzle(puzzle):
    (match,) = puzzle.matching
    assert match.convention.framework == "scikit-learn before 1.2"
    assert match.convention.call == "log_loss(y, p)"
    assert match.printed == "12.033141381058451"
    text = str(puzzle)
    assert "\n16.118095  " in text
    assert text.split("\n\n")[-1] == (
        "12.033141381058451 is scikit-learn before 1.2's log_loss(y, p): 3 yes-or-no "
        "labels, reads\nprobabilities, clips at 1e-15, takes rows as they are, takes "
        "the mean."
    )
    table = text.splitlines()
    assert table[1] == "12.033141381058451  <=  scikit-learn before 1.2: log_loss(y, p)"
    at = table.index(
        "34.538776394910684      scikit-learn before 1.2: log_loss([y], [p])"
    )
    assert table[at + 1].strip() == "1 row of 3 classes (not: 3 yes-or-no labels)"


def test_what_is_shown_without_print(puzzle):
    assert repr(puzzle) == str(puzzle)
    (match,) = puzzle.matching
    name = "scikit-learn before 1.2: log_loss(y, p)"
    assert repr(match) == f"<12.033141381058451 of {name}>"
    assert repr(match.convention) == f"<{name}>"


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        (LABELS, PROBS),
        (ROWS, ROW_PROBS),
        ([2, 1], [[3.0, -1.0, 0.5], [0.1, 4.0, -2.0]]),
    ],
)
def test_it_fits_a_terminal(labels, predictions):
    for got in (None, "17.3", "12.033141"):
        text = str(jaxent.explain(labels, predictions, got=got))
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("labels", "predictions", "shape", "reads"),
    [
        (LABELS, PROBS, "3 yes-or-no labels", "reads probabilities"),
        (LABELS, [-3.0, 0.2, 4.0], "3 yes-or-no labels", "reads logits"),
        ([2, 1], ROW_PROBS, "2 rows of 3 classes", "reads probabilities"),
        ([2, 1], [[3.0, -1.0, 0.5], [0.1, 4.0, -2.0]], "2 rows of 3 classes",
         "reads logits"),
        ([[1, 1, 0], [0, 1, 1]], ROW_PROBS, "6 yes-or-no labels",
         "reads probabilities"),
    ],
)  # fmt: skip
def test_the_likelier_come_first(labels, predictions, shape, reads):
    readings = jaxent.explain(labels, predictions).readings
    assert readings[0].convention.traits[:2] == (shape, reads)
    # None that reads what the predictions cannot be comes before one that does not.
    likely = [
        (r.convention.traits[1] == "reads probabilities")
        == (reads == "reads probabilities")
        for r in readings
    ]
    assert sorted(likely, reverse=True) == likely


@pytest.mark.parametrize(
    ("framework", "call", "number"),
    [  # as the frameworks printed them: the seeds, and scikit-learn 1.9.1
        ("scikit-learn before 1.2", "log_loss([y], [p])", 34.538776394910684),
        ("scikit-learn since 1.5", "log_loss(y, p)", 12.534767045793942),
        ("scikit-learn since 1.5", "log_loss([y], [p])", 36.04365338911716),
        ("scikit-learn since 1.5", "log_loss(y, p) of float32", 5.834344387054443),
        ("Keras", "CategoricalCrossentropy()([y], [p])", 16.118095),
        ("the definition", "mean(-sum(y log p))", np.inf),
    ],
)
def test_the_numbers_around_it(puzzle, framework, call, number):
    np.testing.assert_allclose(numbers(puzzle, framework, call), [number], rtol=1e-7)


@pytest.mark.parametrize(
    ("got", "calls"),
    [
        ("18.074107153672394", ["log_loss(y, p)"]),
        ("36.14821430734479", ["log_loss(y, p, normalize=False)"]),
        ("17.727533", ["CategoricalCrossentropy(reduction='sum')(y, p)"]),
        (1.3565655, ["CategoricalCrossentropy(from_logits=True)(y, p)",
                     "losses.softmax_cross_entropy(y, p)", "cross_entropy(p, y)",
                     "softmax_cross_entropy(p, y).mean()"]),
    ],
)  # fmt: skip
def test_the_seed_s_batch(got, calls):
    found = jaxent.explain(ROWS, ROW_PROBS, got=got)
    assert [r.convention.call for r in found.matching] == calls


def test_ids_are_one_hot_rows():
    by_rows, by_ids = jaxent.explain(ROWS, ROW_PROBS), jaxent.explain([2, 1], ROW_PROBS)
    assert [r.number for r in by_rows.readings] == [r.number for r in by_ids.readings]
    assert "SparseCategoricalCrossentropy()(y, p)" in str(by_ids)


def test_bits_and_other_denominators_are_recognised():
    found = jaxent.explain(ROWS, ROW_PROBS, got=18.074107153672394 / np.log(2))
    assert not found.matching
    assert (
        "It is scikit-learn before 1.2's log_loss(y, p) in bits, divided by log 2."
        in str(found)
    )


def test_logits_are_refused_where_the_framework_refuses_them():
    found = jaxent.explain([2, 1], [[3.0, -1.0, 0.5], [0.1, 4.0, -2.0]])
    raising = {r.convention.framework for r in found.readings if r.error is not None}
    assert raising == {"scikit-learn before 1.2", "scikit-learn since 1.5"}
    assert "raises" in str(found)


def test_the_command(tmp_path, capsys):
    np.savez(tmp_path / "file.npz", y_true=LABELS, y_pred=PROBS)
    assert main(["explain", str(tmp_path / "file.npz"), "--got", "12.033141"]) == 0
    assert "<=  scikit-learn before 1.2: log_loss(y, p)" in capsys.readouterr().out
    csv = tmp_path / "file.csv"
    csv.write_text("label,a,b,c\n2,0.3,0.7,0.0\n1,0.5,0.2,0.3\n")
    assert main(["explain", str(csv), "--got", "18.074107"]) == 0
    assert main(["explain", str(csv), "--got", "17.3"]) == 1
    assert "No convention here gives 17.3." in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        "2;0,3;0,7;0,0\n1;0,5;0,2;0,3\n",
        "2\t0.3\t0.7\t0.0\n1\t0.5\t0.2\t0.3\n",
        "label;0;1;2\n2;0,3;0,7;0,0\n1;0,5;0,2;0,3\n",
        "label,ant,bee,cat\ncat,0.3,0.7,0.0\nbee,0.5,0.2,0.3\n",
        "ant,bee,cat,y_true\n0.3,0.7,0.0,cat\n0.5,0.2,0.3,bee\n",
        "label,1,2,3\n3,0.3,0.7,0.0\n2,0.5,0.2,0.3\n",
        ",class,a,b,c\n7,2,0.3,0.7,0.0\n8,1,0.5,0.2,0.3\n",
        ",label,ant,bee,cat\n0,2,0.3,0.7,0.0\n1,1,0.5,0.2,0.3\n",
        "\ufefflabel,a,b,c\r\n2,0.3,0.7,0.0\r\n1,0.5,0.2,0.3\r\n",
        "label,p(a|x),p(b|x),p(c|x)\n2,0.3,0.7,0.0\n1,0.5,0.2,0.3\n",
        "label;p(a,x);p(b,x);p(c,x)\np(c,x);0,3;0,7;0,0\np(b,x);0,5;0,2;0,3\n",
        "id,label,ant,bee,cat\n17,cat,0.3,0.7,0.0\n18,bee,0.5,0.2,0.3\n",
        "ant,bee,cat,fold,label\n0.3,0.7,0.0,1,cat\n0.5,0.2,0.3,2,bee\n",
        "file,label,ant,bee,cat\na.png,2,0.3,0.7,0.0\nb.png,1,0.5,0.2,0.3\n",
    ],
    ids=[
        "decimal comma",
        "tab",
        "numbered",
        "names",
        "label last",
        "numbered from 1",
        "index, label unknown",
        "index",
        "windows",
        "bars in names",
        "commas in names",
        "id",
        "fold",
        "words",
    ],
)
@pytest.mark.parametrize("name", ["file.csv", "file.tsv"])
def test_a_file_as_others_write_it(tmp_path, name, content):
    (tmp_path / name).write_text(content, "utf-8", newline="")
    assert main(["explain", str(tmp_path / name), "--got", "18.074107"]) == 0


FOLDS = "y_true,y_pred,fold\n0,0.3,1\n0,0.7,2\n1,0.0,2\n"
SURE = "label,ant,bee,sure\nant,0.3,0.7,0.5\nbee,0.2,0.8,0.6\n"
NAMED = "fold;ant;bee;label;cat\n1;0,3;0,7;cat;0,0\n2;0,5;0,2;bee;0,3\n"


@pytest.mark.parametrize(
    ("content", "options", "says", "does"),
    [
        (FOLDS, [], "Labels: y_true. Predictions: y_pred. Left out: fold.",
         "3 yes-or-no labels, reads probabilities"),
        (FOLDS, ["--predictions", "y_pred"],
         "Labels: y_true. Predictions: y_pred. Left out: fold.",
         "3 yes-or-no labels, reads probabilities"),
        (FOLDS, ["--predictions", "FOLD", "--labels", "Y_TRUE"],
         "Labels: y_true. Predictions: fold. Left out: y_pred.",
         "3 yes-or-no labels, reads logits"),
        (SURE, [], "Labels: label. Predictions: ant, bee. Left out: sure.",
         "2 rows of 2 classes, reads probabilities"),
        (SURE.replace("0.3", "3.1"), [], "Labels: label. Predictions: ant, bee, sure.",
         "2 rows of 3 classes, reads logits"),
        (SURE, ["--predictions", "bee,ant"],
         "Labels: label. Predictions: bee, ant. Left out: sure.",
         "2 rows of 2 classes, reads probabilities"),
        (NAMED, [], "Labels: label. Predictions: ant, bee, cat. Left out: fold.",
         "2 rows of 3 classes, reads probabilities"),
        ("id,y,a,b\n7,1,0.5,0.5\n9,0,0.5,0.5\n", [],
         "Labels: y. Predictions: id, a, b.", "2 rows of 3 classes, reads logits"),
        (",".join(["y", *map(str, range(10))]) + "\n1" + ",0.1" * 10, [],
         "Labels: y. Predictions: 0, 1, 2, 3, 4, 5, …, 9.",
         "1 row of 10 classes, reads probabilities"),
    ],
)  # fmt: skip
def test_which_columns_are_read(tmp_path, capsys, content, options, says, does):
    (tmp_path / "file.csv").write_text(content)
    assert main(["explain", str(tmp_path / "file.csv"), *options]) == 0
    first, _, _, _, traits, *_ = capsys.readouterr().out.splitlines()
    assert first == says
    assert traits.strip().startswith(does)


def test_the_command_from_a_shell(tmp_path):
    (tmp_path / "file.csv").write_text("0,0.3\n0,0.7\n1,\n")
    run = subprocess.run(
        [sys.executable, "-m", "jaxent", "explain", str(tmp_path / "file.csv")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr == (
        "`jaxent.explain(file=...)` must have 2 numbers in row 3; got 1,. "
        "Mend the row.\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "must"),
    [
        ("none.npz", None, "be a file"),
        ("file.txt", "0,1", "be a .npz, .csv or .tsv file"),
        ("file.npz", "not a zip", "be a readable .npz file"),
        ("file.csv", "", "have rows of a label and numbers"),
        ("file.csv", "label\n1\n", "have rows of a label and numbers"),
        ("file.csv", "0,0.3\n1,much\n", "have 2 numbers in row 2"),
        ("file.csv", "0,0.3\n1,0.2,0.1\n", "have 2 numbers in row 2"),
        (
            "file.csv",
            "cat,0.3,0.7\n",
            "have an id, or the name of a column, for the label in row 1",
        ),
        (
            "file.csv",
            "y,ant,bee\ncat,0.3,0.7\n",
            "have an id, or the name of a column, for the label in row 2",
        ),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, capsys, name, content, must):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert main(["explain", str(tmp_path / name)]) == 2
    assert f"`jaxent.explain(file=...)` must {must}; got " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (FOLDS, ["--predictions", "nosuch"],
         "have a column called nosuch; got y_true, y_pred, fold. Name one of its "
         "header."),
        (FOLDS, ["--predictions", "y_pred,nosuch"],
         "have a column called nosuch; got y_true, y_pred, fold. Name one of its "
         "header."),
        (FOLDS, ["--labels", "nosuch"],
         "have a column called nosuch; got y_true, y_pred, fold. Name one of its "
         "header."),
        ("0,0.3\n1,0.2\n", ["--predictions", "p"],
         "have a column called p; got no header. Name one of its header."),
        ("label,cat,dog\n1\n0,0.3,0.7\n", [],
         "have 3 cells, as the header has, in row 2; got 1. Mend the row."),
        ("1\n0,0.3,0.7\n1,0.3,0.7\n", [],
         "have 3 numbers in row 1; got 1. Mend the row."),
        ("label,cat,dog\n\n1,0.3,0.7\n\n0,0.3\n", [],
         "have 3 cells, as the header has, in row 5; got 0,0.3. Mend the row."),
        ("label,p(cat|x),p(dog|x)\n1,0.3\n", [],
         "have 3 cells, as the header has, in row 2; got 1,0.3. Mend the row."),
        ("label,cat,dog\ncat,70%,30%\n", [],
         "have a number for `cat` in row 2; got 70%. Write 0.7."),
        ("label,cat,dog\n1,0.3,0.7\n0,0.6,much\n", [],
         "have a number for `dog` in row 3; got much. Mend the row, or name other "
         "columns: --predictions NAME,NAME."),
        ("1,much,0.3\n0,0.2,0.8\n", [],
         "have 3 numbers in row 1; got 1,much,0.3. Mend the row."),
        ("label,cat,dog\ncat,low,high\n", [],
         "have a column of predictions; got label, cat, dog. Name it with "
         "--predictions NAME."),
        ("y,1,2,3\n3,0.2,0.3,0.5\nbee,0.2,0.3,0.5\n", [],
         "have an id, or the name of a column, for the label in row 3; got bee. Number "
         "the classes from 0, or name their columns in a header."),
        ("", [],
         "have rows of a label and numbers; got no rows. Write a label and its "
         "predictions in each, such as 0,0.3,0.7."),
        ("label,cat,dog\n", [],
         "have rows of a label and numbers; got no rows. Write a label and its "
         "predictions in each, such as 0,0.3,0.7."),
        ("label\n1\n", [],
         "have rows of a label and numbers; got 1 column. Write a label and its "
         "predictions in each, such as 0,0.3,0.7."),
    ],
)  # fmt: skip
def test_mistakes_of_a_file(tmp_path, capsys, content, options, message):
    (tmp_path / "file.csv").write_text(content)
    assert main(["explain", str(tmp_path / "file.csv"), *options]) == 2
    says = f"`jaxent.explain(file=...)` must {message}\n"
    assert capsys.readouterr().err == says


def test_labels_of_numbers_are_names_of_columns_all_or_none(tmp_path, capsys):
    (tmp_path / "file.csv").write_text("y,1,2,3\n2,0.3,0.7,0.0\n0,0.5,0.2,0.3\n")
    assert main(["explain", str(tmp_path / "file.csv")]) == 0
    by_hand = str(jaxent.explain([2, 0], ROW_PROBS))
    assert capsys.readouterr().out.split("\n\n")[1].strip() == by_hand.strip()


def test_help_says_what_a_file_may_be(capsys):
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in ("TSV", "semicolons", "tabs", "name of a column", "cat,dog,bird"):
        assert word in text


def test_a_file_without_the_arrays(tmp_path, capsys):
    path = tmp_path / "file.npz"
    np.savez(path, a=LABELS, b=PROBS)
    assert main(["explain", str(path), "--labels", "a"]) == 2
    assert "got a, b. Name it with --predictions NAME." in capsys.readouterr().err
    assert main(["explain", str(path), "--labels", "c"]) == 2
    assert "must hold an array called c; got a, b." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "options", "kind", "message"),
    [
        (([0, 1], [0.5]), {}, ValueError,
         "`jaxent.explain(predictions=...)` must have one number or one row for each "
         "label; got (1,). `labels` has shape (2,)."),
        ((LABELS, PROBS), {"got": "about 12"}, TypeError,
         "`jaxent.explain(got=...)` must be a number; got 'about 12'. Give it as it "
         "was printed, such as 12.033141."),
        (("zero", [0.5]), {}, TypeError,
         "`jaxent.explain(labels=...)` must be an array of numbers; got str. Pass a "
         "JAX or NumPy array, or nested lists of numbers."),
    ],
)  # fmt: skip
def test_mistakes(args, options, kind, message):
    with pytest.raises(kind) as error:
        jaxent.explain(*args, **options)
    assert str(error.value) == message


def test_it_leaves_precision_as_it_was(puzzle):
    del puzzle
    assert jnp.asarray(1.0).dtype == jnp.float32
