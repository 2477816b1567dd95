"""Tables of the user: files of separated values, pandas data frames, and arrays."""
