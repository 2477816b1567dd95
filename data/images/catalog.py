"""The sets of images: files, checksums, classes, and how each is split and augmented.

SHA-256 checksums are those of files that were downloaded and checked. MD5 checksums are those that the publishers
give, and that torchvision uses; their files were not available for comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.dataset_info import DatasetInfo
from data.images.published import PublishedFile
from data.splitting import DEFAULT_SHARE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel of ImageNet, of pixels in [0, 1], as in torchvision."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel of ImageNet, of pixels in [0, 1], as in torchvision."""

_MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "http://yann.lecun.com/exdb/mnist")


def _mnist(name: str, size: int, digest: str) -> PublishedFile:
    # torchvision stores the same files in MNIST/raw.
    return PublishedFile(name, "mnist", size, digest, _MNIST_MIRRORS, also=(f"MNIST/raw/{name}",))


_TRAIN = (
    _mnist("train-images-idx3-ubyte.gz", 9912422, "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    _mnist(
        "train-labels-idx1-ubyte.gz",
        28881,
        "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
)
_T10K = (
    _mnist(
        "t10k-images-idx3-ubyte.gz",
        1648877,
        "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    _mnist(
        "t10k-labels-idx1-ubyte.gz",
        4542,
        "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
_CIFAR10 = PublishedFile(
    "cifar-10-binary.tar.gz",
    "cifar10",
    170052171,
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz",),
)
_CIFAR10_PICKLES = PublishedFile(
    "cifar-10-python.tar.gz",
    "cifar10",
    170498071,
    "md5:c58f30108f718f92721af3b95e74349a",
    ("https://www.cs.toronto.edu/~kriz",),
    also=("cifar-10-python.tar.gz",),
)
_CIFAR10_UNPACKED = tuple(
    # torchvision unpacks these files to cifar-10-batches-py in its root folder.
    PublishedFile(
        name,
        "cifar10/cifar-10-batches-py",
        size,
        f"md5:{digest}",
        (),
        also=(f"cifar-10-batches-py/{name}", name),
    )
    for name, size, digest in (
        ("data_batch_1", 31035704, "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", 31035320, "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", 31035999, "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", 31035696, "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", 31035623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        ("test_batch", 31035526, "40351d587109b95175f43aff81a1287e"),
    )
)
_IMAGENETTE = PublishedFile(
    "imagenette2-320.tgz",
    "imagenette",
    341663724,
    "md5:3df6f0d01a2c9592104656642f5e78a3",
    ("https://s3.amazonaws.com/fast-ai-imageclas",),
)


@dataclass(frozen=True)
class ImageSource:
    """Files of one set of images, and how it is split and augmented.

    Attributes:
        shape: Channels, height and width of the images that are served; ``image_size`` changes height and width.
        class_names: One name for each class; empty if the names are those of folders, or depend on options.
        train: Files of the training images and their labels, or the archive of a set in folders.
        test: Files of the published test part; empty if there is none, so that the set is split into three parts.
        val_size: Default share of the validation part, among the training images.
        padding: Largest shift by augmentation, in pixels.
        flip: Whether augmentation mirrors images.
        folders: Whether the images are files in folders, which are decoded for each batch.
        other_forms: Further sets of files with the same images, which are read if they are in the cache.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train: tuple[PublishedFile, ...] = ()
    test: tuple[PublishedFile, ...] = ()
    val_size: float = DEFAULT_SHARE
    padding: int = 0
    flip: bool = False
    folders: bool = False
    other_forms: tuple[tuple[PublishedFile, ...], ...] = ()

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        """All files, those of the training images first."""
        return self.train + self.test


_DIGITS = tuple(str(digit) for digit in range(10))

IMAGE_SOURCES: dict[str, ImageSource] = {
    "mnist": ImageSource((1, 28, 28), _DIGITS, _TRAIN, _T10K, val_size=0.1, padding=2),
    "mnist10k": ImageSource((1, 28, 28), _DIGITS, _T10K, padding=2),
    "cifar10": ImageSource(
        (3, 32, 32),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        (_CIFAR10,),
        val_size=0.1,
        padding=4,
        flip=True,
        other_forms=(_CIFAR10_UNPACKED, (_CIFAR10_PICKLES,)),
    ),
    "imagenette": ImageSource((3, 224, 224), (), (_IMAGENETTE,), val_size=0.1, flip=True, folders=True),
    "imagenet": ImageSource((3, 224, 224), (), val_size=0.02, flip=True, folders=True),
    "fake": ImageSource((3, 32, 32), (), padding=2),
}
"""Every set of images that cannot be loaded as a table, by name."""


def _info(
    name: str, title: str, source: str, rows: int, classes: int, license: str, creators: str, url: str, note: str
) -> DatasetInfo:
    shape = IMAGE_SOURCES[name].shape
    return DatasetInfo(
        name=name,
        title=title,
        source=source,
        rows=rows,
        features=math.prod(shape),
        classes=classes,
        license=license,
        creators=creators,
        url=url,
        note=note,
        image_shape=shape,
        tabular=False,
    )


IMAGE_INFOS = (
    _info(
        "mnist",
        "MNIST, handwritten digits",
        "download",
        70000,
        10,
        "CC BY-SA 3.0, as commonly stated",
        "Y. LeCun, C. Cortes, C. J. C. Burges",
        "http://yann.lecun.com/exdb/mnist/",
        "60000 training images, a tenth of which are the validation part, and the 10000 published test images.",
    ),
    _info(
        "mnist10k",
        "MNIST's published test images",
        "download",
        10000,
        10,
        "CC BY-SA 3.0, as commonly stated",
        "Y. LeCun, C. Cortes, C. J. C. Burges",
        "http://yann.lecun.com/exdb/mnist/",
        "Only the 10000 test images, split into three parts: a small data set. Accuracies on it cannot be compared "
        "with accuracies on MNIST.",
    ),
    _info(
        "cifar10",
        "CIFAR-10, small photographs",
        "download",
        60000,
        10,
        "none stated",
        "A. Krizhevsky, V. Nair, G. Hinton",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "50000 training images, a tenth of which are the validation part, and the 10000 published test images. "
        "torchvision's cifar-10-batches-py or cifar-10-python.tar.gz is read if data_dir holds it.",
    ),
    _info(
        "imagenette",
        "Imagenette, ten easy classes of ImageNet",
        "download",
        13394,
        10,
        "ImageNet's: research and teaching",
        "J. Howard, fast.ai; images of ImageNet",
        "https://github.com/fastai/imagenette",
        "9469 training images, a tenth of which are the validation part; the 3925 published validation images are the "
        "test part. The version of 320 pixels is downloaded; imagenette2 and imagenette2-160 are also read if they are "
        "in the cache.",
    ),
    _info(
        "imagenet",
        "ImageNet, ILSVRC 2012",
        "manual",
        1331167,
        1000,
        "ImageNet's: research and teaching",
        "O. Russakovsky and others",
        "https://www.image-net.org/challenges/LSVRC/2012/",
        "1281167 training images, a fiftieth of which are the validation part; the 50000 published validation images "
        "are the test part. The layout is torchvision's (train/<wnid>/, val/<wnid>/) or Kaggle's "
        "(ILSVRC/Data/CLS-LOC/, LOC_val_solution.csv).",
    ),
    _info(
        "fake",
        "Invented images, a pattern for each class",
        "generated",
        1000,
        10,
        "none: generated here",
        "this repository",
        "https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.FakeData.html",
        "Images of any size and number of classes, for trials: set image_size, num_classes, channels and num_points. "
        "noise is the standard deviation of the pixels, in units of their whole range.",
    ),
)
"""Descriptions of the sets of images."""
