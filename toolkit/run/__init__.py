"""Executing a recipe: `results/<name>/`, its ledger of finished steps, and the steps themselves."""
