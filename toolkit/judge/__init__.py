"""Judge prompts, verdicts, and pairwise judging into votes."""
