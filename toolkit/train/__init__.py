"""Training methods on top of TRL, one module each."""

from toolkit.train.stage import train_stage

__all__ = ["train_stage"]
