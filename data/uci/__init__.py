"""UCI data sets: their catalog, their file formats, and their files on disk."""
