"""adapter-arena: fine-tune a language model, then find out whether it got better."""

__version__ = "0.1.0"
