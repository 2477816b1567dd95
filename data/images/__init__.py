"""Data sets of images: their descriptions, their files, the decoding of these files, and the batches made from them.

``catalog`` describes each data set. Sets that fit in memory: ``arrays`` reads their files, ``in_memory`` serves them.
Sets in folders: ``folders`` lists their files, ``formats`` and ``decode`` read an image, ``in_folders`` serves them.
A folder of the user: ``own_folder`` lists its files, ``survey`` measures them, ``in_own_folder`` serves them.
``published`` downloads files of both kinds, ``augment`` changes whole batches, ``transforms`` are those of the user,
``module`` is the base of all kinds.
"""

from data.images.catalog import IMAGE_SOURCES, ImageSource

__all__ = ["IMAGE_SOURCES", "ImageSource"]
