"""One flat file per training method over TRL."""
