"""One flat file per training method over TRL."""

from toolkit.train.stage import train_stage

__all__ = ["train_stage"]
