from jaxcnn.data.augment import random_shift
from jaxcnn.data.bars import oriented_bars
from jaxcnn.data.batches import Batch, epoch_indices, sequential_indices, take_batch
from jaxcnn.data.blobs import shifted_blobs
from jaxcnn.data.brightness import dark_vs_bright, dark_vs_bright_bayes_rate, lab_images, lab_splits
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.digits import digits
from jaxcnn.data.files import load_npz
from jaxcnn.data.images import read_image, read_images
from jaxcnn.data.load import load
from jaxcnn.data.split import Split, Splits, split, stratified_split
from jaxcnn.data.validate import validate

__all__ = [
    "Batch",
    "Dataset",
    "Split",
    "Splits",
    "dark_vs_bright",
    "dark_vs_bright_bayes_rate",
    "digits",
    "epoch_indices",
    "lab_images",
    "lab_splits",
    "load",
    "load_npz",
    "oriented_bars",
    "random_shift",
    "read_image",
    "read_images",
    "sequential_indices",
    "shifted_blobs",
    "split",
    "stratified_split",
    "take_batch",
    "validate",
]
