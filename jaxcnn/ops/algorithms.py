"""The algorithms by their names, each a module with the three operations and their ``limit``."""

from jaxcnn.ops import groupwise

IMPLEMENTATIONS = {**groupwise.OF_A_GROUP, "groupwise": groupwise}
