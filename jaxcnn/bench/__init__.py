"""Honest times."""

from jaxcnn.bench.result import record as record
from jaxcnn.bench.result import write as write
from jaxcnn.bench.timing import Case as Case
from jaxcnn.bench.timing import Timing as Timing
from jaxcnn.bench.timing import measure as measure
from jaxcnn.bench.timing import measure_alternately as measure_alternately
from jaxcnn.bench.timing import stopwatch as stopwatch
