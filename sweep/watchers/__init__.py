"""What a run writes and shows while it trains, for any engine. Needs no Lightning."""
