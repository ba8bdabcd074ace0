"""Recipes: what each declares, and that each trains or says why it cannot."""

from dataclasses import fields, replace

import jax
import numpy as np
import pytest

from simlaw.config import SGD, WSD, AdamW, Cosine, Graph
from simlaw.corpora import AbstractCorpus
from simlaw.errors import SimlawError
from simlaw.plan import expand
from simlaw.recipe import RECIPES, Family, RateRule, Recipe
from simlaw.sweep import Grid, Sweep
from simlaw.train import compile_shape, members, shape_of, start

SWEEP = Sweep(
    corpus=Graph(nodes=16, out=4),
    family=Family(layers=1, head_dim=8, context=16),
    rate=RateRule(rate=0.02, width=16, exponent=-1.0),
    schedule=WSD(warmup_tokens=512, cooldown=0.25),
    batch=8,
    grids=(Grid(widths=(16,), tokens=(20 * 128,)),),
    eval_tokens=1024,
)


def planned(recipe, **grid):
    """The one run of the sweep in a recipe."""
    changed = replace(SWEEP, grids=(replace(SWEEP.grids[0], recipes=(recipe,), **grid),))
    return expand(changed, "f").cells[0].spec


def test_each_generation_changes_what_its_sentence_says():
    def changed(before, after):
        return {f.name for f in fields(Recipe) if getattr(RECIPES[before], f.name) != getattr(RECIPES[after], f.name)}

    assert list(RECIPES) == ["g0", "g1", "g2", "g3", "g4", "g5", "g6"]
    assert changed("g0", "g1") == {"optimizer", "rate", "schedule", "warmup", "weight_decay"}
    assert changed("g1", "g2") == {"architecture", "z_loss"}
    assert changed("g2", "g3") == {"mup", "rate", "weight_decay"}
    assert changed("g3", "g4") == {"needs"}
    assert changed("g4", "g5") == {"needs"}
    assert changed("g3", "g6") == {"precision"}


def test_a_recipe_has_the_form_of_a_schedule_and_the_sweep_its_lengths():
    first, second = (planned(RECIPES[name]) for name in ("g0", "g1"))
    assert first.schedule == WSD(warmup_tokens=0, cooldown=0.25)
    assert second.schedule == Cosine(warmup_tokens=512)
    assert (first.optimizer, second.optimizer) == (SGD(rate=0.5), AdamW(rate=0.02))
    own = Cosine(warmup_tokens=256, final=0.3)
    assert planned(RECIPES["g0"], schedules=(own,)).schedule == own
    assert Recipe(schedule="cosine").scheduled(own) == own
    assert Recipe(schedule="wsd").scheduled(own) == WSD(warmup_tokens=256)


def test_mup_carries_one_rate_to_every_width():
    specs = [planned(RECIPES["g3"], widths=(width,)) for width in (16, 64)]
    assert {spec.optimizer.rate for spec in specs} == {0.02}
    assert {spec.model.mup.base_width for spec in specs} == {32}


def test_what_a_recipe_needs_and_nothing_gives():
    with pytest.raises(SimlawError, match="the recipe needs a teacher, which nothing in this version gives"):
        planned(RECIPES["g5"])
    with pytest.raises(SimlawError, match="the recipe needs a mixture, and the corpus is Graph: give a Mix"):
        planned(RECIPES["g4"])


@pytest.fixture
def quickly_compiled():
    """Whether a recipe trains does not hang on how fast."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("quickly_compiled")
@pytest.mark.parametrize("name", ["g0", "g1", "g2", "g3", "g6"])
def test_a_recipe_trains(corpus: AbstractCorpus, name):
    spec = planned(RECIPES[name])
    program = compile_shape(shape_of(spec), corpus)
    _, history = program.advance(start([spec]), members(program, [spec], cool=True), spec.steps)
    losses = np.asarray(history.loss[0])
    assert np.isfinite(losses).all()
    assert losses[-4:].mean() < losses[0] - 0.15
