"""The small recipe of the tests of runs, for the commands that carry one out."""

from tests.run.conftest import small_recipe

__all__ = ["small_recipe"]
