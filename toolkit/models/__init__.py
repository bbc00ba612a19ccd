"""A base, a chain of adapters and a quantisation -> one loaded model; endpoints; merging."""
