"""Step: arithmetic by another interpreter, losses by enumeration and by counting, training and held-out sets apart."""

import functools
import itertools
import math
from collections import Counter, defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simlaw.config import Step
from simlaw.config.problems import TEMPLATES, constants_of
from simlaw.corpora import StepCorpus, disjoint, open_corpus
from simlaw.counted import counted
from simlaw.errors import SimlawError


@functools.cache
def step(**fields):
    return StepCorpus.build(Step(**fields))


@functools.cache
def made_by(spec):
    return jax.jit(StepCorpus.build(spec).batch, static_argnums=(3, 4))


def batch(corpus, seed, at, windows, context):
    """A training batch, made by one compiled program as in training."""
    made = made_by(corpus.spec)
    own = corpus.seed_data(seed, context)
    return np.asarray(made(corpus.shared_data(), own, jnp.int32(at), windows, context))


SMALL = {"modulus": 5, "most_steps": 3, "distractors": 2}
CONTEXT = 120


@functools.cache
def trained(form):
    """Training windows of the small source, its context, and their losses."""
    corpus = step(**SMALL, form=form)
    context = corpus.shortest + 30
    windows = batch(corpus, 3, 4, 300, context)
    return corpus, windows, corpus.floor_nll(windows)


@functools.cache
def alone(form):
    """Held-out problems of the small source, one in each window, and what each costs."""
    corpus = step(**SMALL, form=form)
    windows = corpus.alone(2000, 7)
    return corpus, windows, corpus.floor_nll(windows).sum(axis=1)


def texts(corpus, windows):
    """The whole problems of windows, as lists of names."""
    for window in windows:
        words = [corpus.spec.names[token] for token in window]
        starts = [i for i, word in enumerate(words) if word == "<q>"] + [len(words)]
        for begin, end in itertools.pairwise(starts):
            problem = [word for word in words[begin:end] if word != "<pad>"]
            if problem[-1] == "<eos>":
                yield problem


def statements(problem, form):
    """(name, what it is said to be) of each statement, and the variable that is asked for."""
    question = problem[1 : problem.index("<sol>")]
    operators = {"plus": "+", "minus": "-", "times": "x"}
    found, rest = [], question
    while True:
        for kind, texts in TEMPLATES[form].items():
            for text in texts:
                words = text.split()
                places = dict(zip(words, rest, strict=False))
                fits = len(rest) >= len(words) and all(
                    b in "xvyoz" or a == b for a, b in zip(rest, words, strict=False)
                )
                # "x" may be the operator, and a name is one letter: a constant's is a small one
                if not fits or len(places["x"]) > 1 or (kind == "constant") != places["x"].islower():
                    continue
                if kind == "query":
                    if len(rest) == len(words):
                        return found, places["x"]
                    continue
                said = places["v"] if kind == "constant" else [places["y"], places["o"], places["z"]]
                found.append((places["x"], said if kind == "constant" else [operators.get(s, s) for s in said]))
                rest = rest[len(words) :]
                break
            else:
                continue
            break
        else:
            raise AssertionError(rest)


def solved(problem, form, modulus):
    """The solution by recursion from the query on, as words; how many steps and distractors there are."""
    said, asked = statements(problem, form)
    meaning = dict(said)
    assert len(meaning) == len(said)
    done, lines = {}, []

    def value(name):
        if name in done:
            return done[name]
        if name.islower():
            return int(meaning[name])
        y, o, z = meaning[name]
        a, b = value(y), value(z)
        done[name] = {"+": a + b, "-": a - b, "x": a * b}[o] % modulus
        lines.append(f"<step> {name} = {y} {o} {z} = {a} {o} {b} = {done[name]}")
        return done[name]

    answer = value(asked)
    computed = sum(not name.islower() for name in meaning)
    return " ".join(["<sol>", *lines, "<ans>", str(answer), "<eos>"]).split(), len(lines), computed - len(lines)


@pytest.mark.parametrize("form", ["symbols", "words"])
def test_solutions_are_those_of_another_interpreter(form):
    corpus, windows, _ = trained(form)
    counts = Counter()
    for problem in texts(corpus, windows):
        solution, steps, distractors = solved(problem, form, 5)
        assert problem[problem.index("<sol>") :] == solution
        counts[steps, distractors] += 1
    total = sum(counts.values())
    assert total > 300
    # windows hold more of short problems than of long ones; the first of each window shows the source as it is
    first = Counter()
    for problem in texts(*alone(form)[:2]):
        _, steps, distractors = solved(problem, form, 5)
        first[steps, distractors] += 1
    for (steps, distractors), count in first.items():
        p = math.comb(2, distractors) * 0.7**distractors * 0.3 ** (2 - distractors) / 3
        assert abs(count - 2000 * p) < 4.5 * math.sqrt(2000 * p), (steps, distractors)
    assert len(first) == 9


@pytest.mark.parametrize("form", ["symbols", "words"])
def test_solutions_cost_nothing_and_questions_what_the_source_says(form):
    corpus, windows, nll = trained(form)
    names = np.array(corpus.spec.names)[windows]
    question = np.maximum.accumulate(np.where(names == "<q>", 2 * np.arange(names.shape[1]), 0), axis=1)
    solution = np.maximum.accumulate(np.where(names == "<sol>", 2 * np.arange(names.shape[1]) + 1, 0), axis=1)
    inside = solution > question
    assert np.all(nll[inside[:, 1:]] == 0)
    assert np.all(nll[names[:, 1:] == "<q>"] == 0)
    # of five values of the first constant one is held out
    values = ~inside[:, 1:] & np.char.isdigit(names[:, 1:])
    begun = np.stack([np.nonzero(values)[0], question[:, 1:][values]])
    first = np.append(True, (begun[:, 1:] != begun[:, :-1]).any(axis=0))
    assert np.allclose(nll[values], np.where(first, math.log(4), math.log(5)), rtol=1e-12)
    operators = ~inside[:, 1:] & np.isin(names[:, 1:], ["+", "-", "x", "plus", "minus", "times"])
    assert np.allclose(nll[operators], math.log(3), rtol=1e-12)
    assert nll.min() >= -1e-12


@pytest.mark.parametrize("form", ["symbols", "words"])
def test_a_problem_costs_the_logarithm_of_how_many_there_are(form):
    ways = 1 if form == "symbols" else 3
    corpus, windows, total = alone(form)
    for problem, cost in zip(texts(corpus, windows[:300]), total, strict=False):
        _, n, d = solved(problem, form, 5)
        c = constants_of(n)
        log = math.log(3) + math.log(math.comb(8, c) * math.comb(16, n + d) * math.factorial(c + n + d))
        log += math.log(math.comb(n + d, d) * math.factorial(2 * n) / math.factorial(n + 1))
        log += (n + 1 + 2 * d) * math.log(c) + c * math.log(5 * ways) + math.log(4 / 5) + (n + d) * math.log(3 * ways)
        log -= math.log(math.comb(2, d) * 0.7**d * 0.3 ** (2 - d))
        assert cost == pytest.approx(log, rel=1e-12)


@pytest.mark.parametrize("form", ["symbols", "words"])
def test_the_entropy_is_what_problems_cost_on_the_average(form):
    corpus, windows, cost = alone(form)
    tokens = counted(windows, corpus.spec.left_out).sum(axis=1)
    assert tokens.mean() == pytest.approx(corpus.mean_length - 1, rel=0.02)
    error = (cost - corpus.entropy * tokens).std() / math.sqrt(len(cost)) / tokens.mean()
    assert abs(cost.sum() / tokens.sum() - corpus.entropy) < 4 * error
    assert error < 0.005 * corpus.entropy


def test_long_problems_cost_the_logarithm_of_how_many_there_are():
    corpus = step(operators=("-", "x"), most_steps=12)
    cost = corpus.floor_nll(corpus.alone(100, 1)).sum(axis=1)
    every = {
        -math.log(p)
        + math.log(math.comb(8, n + 1 - n // 2) * math.comb(16, n + d) * math.factorial(2 * n + 1 - n // 2 + d))
        + math.log(math.comb(n + d, d) * math.factorial(2 * n) / math.factorial(n + 1))
        + (n + 1 + 2 * d) * math.log(n + 1 - n // 2)
        + (n - n // 2) * math.log(23)
        + math.log(22)
        + (n + d) * math.log(2)
        for n, d, p in corpus._mixture
    }
    assert np.abs(cost[:, None] - np.array(sorted(every))).min(axis=1).max() < 1e-9


def enumerated(least, most, distractors):
    """The probability of every question, names as new or by the number of a seen one, without values and operators.

    Trees are drawn here as parents: each tree of named steps with two places each, n! Catalan(n) of them.
    """
    probability = defaultdict(float)
    for n in range(least, most + 1):
        for d in range(distractors + 1):
            p = math.comb(distractors, d) * 0.7**d * 0.3 ** (distractors - d) / (most - least + 1)
            pool = constants_of(n)
            slots = 2 * n
            forms = [
                [*places]
                for places in itertools.product([None, *range(1, n)], repeat=slots)
                if sorted(x for x in places if x is not None) == list(range(1, n)) and reaches(places, n)
            ]
            found = []
            for form in forms:
                free = [i for i, x in enumerate(form) if x is None] + list(range(slots, slots + 2 * d))
                for leaves in itertools.product(range(pool), repeat=len(free)):
                    operands = [None if x is None else ("S", x) for x in form] + [None] * (2 * d)
                    for place, leaf in zip(free, leaves, strict=True):
                        operands[place] = ("c", leaf)
                    lines = [(("c", i),) for i in range(pool)]
                    lines += [(("S", i), *operands[2 * i : 2 * i + 2]) for i in range(n + d)]
                    found += [(*order, (("S", 0), "?")) for order in itertools.permutations(lines)]
            for lines in found:
                seen = {"c": [], "S": []}
                text = []
                for name in (name for line in lines for name in line):
                    if name == "?":
                        text.append("?")
                    elif name in seen[name[0]]:
                        text.append((name[0], seen[name[0]].index(name)))
                    else:
                        seen[name[0]].append(name)
                        text.append((name[0], "new"))
                probability[tuple(text)] += p / len(found)
    return probability


def reaches(places, n):
    """Whether every step is below step 0."""
    found, todo = {0}, [0]
    while todo:
        step = todo.pop()
        below = {x for x in places[2 * step : 2 * step + 2] if x is not None} - found
        found |= below
        todo += below
    return len(found) == n


@pytest.mark.parametrize(("least", "most", "distractors"), [(1, 2, 1), (1, 1, 2), (2, 2, 1)])
def test_losses_are_those_of_an_enumeration_of_all_questions(least, most, distractors):
    probability = enumerated(least, most, distractors)
    assert math.fsum(probability.values()) == pytest.approx(1)
    prefix = defaultdict(float)
    for text, p in probability.items():
        for end in range(len(text) + 1):
            prefix[text[:end]] += p
    corpus = step(modulus=3, least_steps=least, most_steps=most, distractors=distractors)
    windows = corpus.alone(100, 5)
    nll = corpus.floor_nll(windows)
    for window, costs in zip(windows, nll, strict=True):
        text, seen, valued = (), {"c": [], "S": []}, False
        words = [corpus.spec.names[token] for token in window]
        for word, cost in zip(words[1 : words.index("<sol>")], costs, strict=False):
            if word in "=;":
                assert cost == 0
            elif word in "+-x" or word.isdigit():
                valued |= (first := word.isdigit() and not valued)
                assert cost == pytest.approx(math.log(2 if first else 3))
            else:
                kind, new = ("c" if word.islower() else "S"), 0.0
                if word == "?":
                    following = "?"
                elif word in seen[kind]:
                    following = (kind, seen[kind].index(word))
                else:
                    new = math.log({"c": 8, "S": 16}[kind] - len(seen[kind]))
                    seen[kind].append(word)
                    following = (kind, "new")
                exact = new - math.log(prefix[(*text, following)] / prefix[text])
                assert cost == pytest.approx(exact, abs=1e-9), (words, text, following)
                text = (*text, following)


def test_no_example_is_trained_on():
    corpus, first, _ = trained("symbols")
    context = first.shape[1] - 1
    training = [first, *(batch(corpus, seed, seed, 300, context) for seed in range(4))]
    seen = np.concatenate([corpus.canonical(windows) for windows in training])
    held = [alone("symbols")[1], corpus.examples(2, 300, 3)]
    held = np.concatenate([corpus.canonical(windows) for windows in held])
    assert len(np.unique(seen)) > 1000
    disjoint(seen, held)
    # so small a source would else have most of them in common: training streams have, and what a loss is measured on
    for other in (training[2], corpus.held_out(context * 300, context)):
        assert np.isin(corpus.canonical(training[1]), corpus.canonical(other)).mean() > 0.1
    with pytest.raises(
        SimlawError, match=r"1 of \d+ problems of the evaluation are in training too, the first at place 0"
    ):
        disjoint(seen, np.concatenate([seen[:1], held]))


def test_two_thirds_of_all_computations_are_of_training_and_of_held_out_losses():
    corpus = step(modulus=3, most_steps=1, distractors=0)
    context = corpus.shortest
    training = np.unique(corpus.canonical(batch(corpus, 0, 0, 1000, context)))
    measured = np.unique(corpus.canonical(corpus.held_out(1000 * context, context)))
    examples = np.unique(corpus.canonical(corpus.examples(1, 1000, 0)))
    # three operators, of one constant with three values, or of two
    assert (len(training), len(examples)) == (24, 12)
    assert np.array_equal(training, measured)
    assert len(np.union1d(training, examples)) == 3 * (3 + 9)


def test_many_distractors_leave_fewer_steps():
    corpus = step(modulus=3, most_steps=1, distractors=15)
    assert len(np.unique(corpus.canonical(corpus.examples(1, 20, 0)))) > 5
    with pytest.raises(SimlawError, match="problems of 2 steps are not drawn beside 15 distractors: ask for 1 to 1"):
        corpus.at(2)


def test_only_the_computation_is_canonical():
    corpus = step(modulus=5)

    def tokens(text):
        return np.array([[corpus.spec.names.index(word) for word in text.split()]], np.int32)

    one = "<q> a = 2 ; b = 4 ; C = a x b ; C ? <sol> <step> C = a x b = 2 x 4 = 3 <ans> 3 <eos>"
    same = "<q> F = h x c ; D = c - c ; c = 4 ; h = 2 ; F ? <sol> <step> F = h x c = 2 x 4 = 3 <ans> 3 <eos>"
    other = "<q> a = 2 ; b = 4 ; C = b x a ; C ? <sol> <step> C = b x a = 4 x 2 = 3 <ans> 3 <eos>"
    value = "<q> a = 1 ; b = 4 ; C = a x b ; C ? <sol> <step> C = a x b = 1 x 4 = 4 <ans> 4 <eos>"
    hashes = [corpus.canonical(tokens(text))[0] for text in (one, same, other, value)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_batches_are_a_function_of_seed_and_step():
    corpus, windows, _ = trained("symbols")
    context = windows.shape[1] - 1
    assert np.array_equal(batch(corpus, 3, 4, 300, context), windows)
    assert not np.array_equal(batch(corpus, 3, 5, 300, context), windows)
    assert not np.array_equal(batch(corpus, 4, 4, 300, context), windows)
    assert np.array_equal(corpus.held_out(10 * context, context), corpus.held_out(10 * context, context))


def test_windows_are_cut_off_at_their_end():
    corpus, windows, nll = trained("symbols")
    assert (windows[:, 0] == 0).all()
    assert (windows == 1).mean() < 0.01
    for cut in (windows.shape[1] - 1, 77, 34, 2):
        assert np.allclose(corpus.floor_nll(windows[:, :cut]), nll[:, : cut - 1], rtol=0, atol=1e-12)


def test_examples_have_exactly_so_many_steps_beyond_training_too():
    corpus = step(**SMALL)
    for steps in (1, 5):
        windows = corpus.examples(steps, 20, 1)
        assert {solved(problem, "symbols", 5)[1] for problem in texts(corpus, windows)} == {steps}
        assert np.isfinite(corpus.at(steps).floor_nll(windows)).all()
        assert not np.array_equal(windows, corpus.examples(steps, 20, 2))
    assert corpus.at(12).spec.vocab == corpus.spec.vocab
    assert open_corpus(corpus.spec).fingerprint == corpus.fingerprint


def spoilt(change, form="symbols"):
    corpus, windows, _ = trained(form)
    windows = windows[:3].copy()
    change(windows, corpus.spec.names)
    return corpus.floor_nll(windows)


def put(position, word):
    def change(windows, names):
        windows[1, position] = names.index(word)

    return change


def swap(windows, names):
    """The first answer of window 1, one higher."""
    at = list(windows[1]).index(names.index("<ans>")) + 1
    windows[1, at] = names.index("0") + (windows[1, at] - names.index("0") + 1) % 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Step(modulus=21), "Step.modulus is 21, no prime: take 19 or 23"),
        (lambda: Step(modulus=2), "Step.modulus is 2: it must be from 3 to 997"),
        (lambda: Step(least_steps=4, most_steps=3), "at least 4 steps and at most 3: lower least_steps or raise"),
        (
            lambda: Step(most_steps=12, distractors=5),
            "12 steps and 5 distractors, and there are only 16 variable names",
        ),
        (lambda: Step(operators=()), r"Step.operators is \(\): give at least one, and none twice"),
        (lambda: Step(operators=("+", "+")), "give at least one, and none twice"),
        (lambda: step().seed_data(0, 100), "context of 100 is shorter than one item of Step, which has 195 tokens"),
        (lambda: step().held_out(1000, 100), "context of 100 is shorter than one item of Step, which has 195 tokens"),
        (lambda: step().examples(13, 1, 0), "problems of 13 steps are not drawn: ask for 1 to 12"),
        (
            lambda: spoilt(lambda w, _: w.__setitem__((2, 9), 10**6)),
            "token 1000000 at position 9 of window 2 is not of",
        ),
        (lambda: spoilt(put(0, "=")), "position 0 of window 1 .* every window begins with <q>"),
        (lambda: spoilt(put(4, "<q>")), "position 4 of window 1 is none that this source gives there"),
        (lambda: spoilt(put(2, "<eos>")), "token 5 at position 2 of window 1 .* begins at position 0 cannot go on so"),
        (lambda: spoilt(put(1, "4")), "position 1 of window 1 is none"),
        (lambda: spoilt(put(4, "<pad>")), "position 5 of window 1 .* behind <pad> comes <pad> alone"),
        (lambda: spoilt(swap), r"position \d+ of window 1 is none that this source gives there"),
        (lambda: spoilt(put(3, "how"), "words"), "position 3 of window 1 is none that this source gives there"),
        (lambda: step(**SMALL).floor_nll(step(**SMALL).examples(4, 1, 0)), "a problem has at most 85 tokens"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(SimlawError, match=words):
        make()


def test_strata_are_answers_by_steps_also_beyond_those_of_training():
    corpus = open_corpus(Step(modulus=5, most_steps=1, distractors=1))
    context = corpus.at(2).shortest
    strata = corpus.strata(context)
    assert [(each.axis, each.low, each.high) for each in strata] == [("steps", n, n) for n in (1, 2)]
    names = corpus.spec.names
    for each in strata:
        for window, place in zip(each.windows, each.looked_at, strict=True):
            told = [names[token] for token in window]
            answer = [names[token] for token in window[1:][place]]
            assert answer == [word for word in told[told.index("<sol>") + 1 :] if word != "<pad>"]
            assert answer.count("<step>") == each.low
        assert each.one_item
        at = corpus.at(each.low)
        assert (at.floor_nll(each.windows)[each.looked_at] == each.floor).all()
