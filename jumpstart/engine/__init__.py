"""The compiled engine, which trains one whole rectangular network per call."""
