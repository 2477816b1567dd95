"""The ledger of a sweep: which runs there are, what became of each, and who trains it now."""
