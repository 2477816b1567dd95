"""The sets of images: files, checksums, classes, how each is split and augmented.

SHA-256 are of files that were seen. MD5 are those that the publishers give, also in torchvision; those files could not
be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.dataset_info import DatasetInfo
from data.images.published import PublishedFile

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in 0..1, as everyone uses them."""

_MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "http://yann.lecun.com/exdb/mnist")


def _mnist(name: str, size: int, digest: str) -> PublishedFile:
    # torchvision keeps the same files in a folder of its own.
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
_IMAGENETTE = PublishedFile(
    "imagenette2-320.tgz",
    "imagenette",
    341663724,
    "md5:3df6f0d01a2c9592104656642f5e78a3",
    ("https://s3.amazonaws.com/fast-ai-imageclas",),
)


@dataclass(frozen=True)
class ImageSource:
    """How one set of images is had and served.

    Attributes:
        shape: Channels, height and width as they are served; ``image_size`` may change the last two.
        class_names: One name for each class; empty if the files or the options give them.
        train: Files of the training images and their labels, or the archive of a folder.
        test: Those of the published test part; empty if there is none, and the set is split three ways.
        val_size: Share of the training images that validation takes, if none is asked for.
        padding: Pixels by which augmentation may shift an image.
        flip: Whether augmentation may mirror an image.
        folders: Whether the images are files in folders, decoded as they are needed.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train: tuple[PublishedFile, ...] = ()
    test: tuple[PublishedFile, ...] = ()
    val_size: float = 0.15
    padding: int = 0
    flip: bool = False
    folders: bool = False

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        """Every file, training first."""
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
    ),
    "imagenette": ImageSource((3, 224, 224), (), (_IMAGENETTE,), val_size=0.1, flip=True, folders=True),
    "imagenet": ImageSource((3, 224, 224), (), val_size=0.02, flip=True, folders=True),
    "fake": ImageSource((3, 32, 32), (), padding=2),
}
"""Every set of images that is no table too, by name."""


def _info(
    name: str, title: str, source: str, rows: int, classes: int, license: str, creators: str, url: str, note: str
) -> DatasetInfo:
    shape = IMAGE_SOURCES[name].shape
    return DatasetInfo(
        name, title, source, rows, math.prod(shape), classes, license, creators, url, (), note, shape, tabular=False
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
        "60000 training images, of which validation takes a tenth, and the 10000 published test images.",
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
        "The 10000 test images alone, split three ways: a small set of its own. Its accuracies are not those of MNIST.",
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
        "50000 training images, of which validation takes a tenth, and the 10000 published test images.",
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
        "9469 training images, of which validation takes a tenth; the 3925 published validation images are the test "
        "part. The version of 320 pixels is downloaded; imagenette2 and imagenette2-160 are read if they are there.",
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
        "1281167 training images, of which validation takes a fiftieth; the 50000 published validation images are the "
        "test part. Read as torchvision lays it out (train/<wnid>/, val/<wnid>/) or as Kaggle does "
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
        "Any size and number of classes, for trials: image_size, num_classes, channels, num_points; noise: standard "
        "deviation of the pixels, of a range of 1.",
    ),
)
