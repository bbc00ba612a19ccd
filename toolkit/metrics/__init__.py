"""Perplexity, ROUGE, BLEU, chrF, BERTScore and others, each an `evaluate.Metric`."""
