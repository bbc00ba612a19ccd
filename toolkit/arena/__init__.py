"""Which battle next, the blind ballot, the vote store, preference export."""
