"""A task that a deep and thin network can compute with few units: functions that are folded again and again."""
