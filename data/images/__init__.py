"""Data sets of images: what they are, how their files are obtained and decoded, and how they are served.

``catalog`` describes each data set. Sets that fit in memory: ``arrays`` reads their files, ``in_memory`` serves them.
Sets in folders: ``folders`` lists their files, ``formats`` and ``decode`` read an image, ``in_folders`` serves them.
``published`` downloads files of both kinds, ``augment`` changes whole batches, ``module`` is what both kinds share.
"""

from data.images.catalog import IMAGE_SOURCES, ImageSource

__all__ = ["IMAGE_SOURCES", "ImageSource"]
