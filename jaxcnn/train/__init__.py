"""Training: configs, states, compiled steps and epochs, checkpoints and run directories."""

from jaxcnn.train.config import TrainConfig as TrainConfig
from jaxcnn.train.config import lab_config as lab_config
from jaxcnn.train.evaluate import inference_timings as inference_timings
from jaxcnn.train.evaluate import predict_logits as predict_logits
from jaxcnn.train.evaluate import score as score
from jaxcnn.train.evaluate import score_parts as score_parts
from jaxcnn.train.loop import DivergedError as DivergedError
from jaxcnn.train.loop import Epoch as Epoch
from jaxcnn.train.loop import Fit as Fit
from jaxcnn.train.loop import evaluate as evaluate
from jaxcnn.train.loop import fit as fit
from jaxcnn.train.loop import train_epoch as train_epoch
from jaxcnn.train.predict import classify as classify
from jaxcnn.train.predict import evaluate_run as evaluate_run
from jaxcnn.train.run import Run as Run
from jaxcnn.train.run import initial_state as initial_state
from jaxcnn.train.run import load_run as load_run
from jaxcnn.train.run import run_splits as run_splits
from jaxcnn.train.run import train_run as train_run
from jaxcnn.train.state import TrainState as TrainState
from jaxcnn.train.state import create_train_state as create_train_state
from jaxcnn.train.step import eval_step as eval_step
from jaxcnn.train.step import train_step as train_step
