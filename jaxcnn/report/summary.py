"""A run in one sentence."""


def summary(metrics: dict) -> str:
    """What share was right, and how far the validation loss is from the training loss.

    Args:
      metrics: what a run's metrics.json holds.

    >>> part = {"accuracy": 1.0, "loss": 0.25}
    >>> summary({"train": part, "val": part | {"loss": 0.5}, "test": part, "best_epoch": 7})
    '100.0 % of the test images right; train loss 0.2500, validation loss 0.5000: a gap of 0.2500 (best epoch 7)'
    """
    part = "test" if "test" in metrics else "train"
    losses = f"train loss {metrics['train']['loss']:.4f}"
    if "val" in metrics:
        gap = metrics["val"]["loss"] - metrics["train"]["loss"]
        losses += f", validation loss {metrics['val']['loss']:.4f}: a gap of {gap:.4f}"
    right = 100 * metrics[part]["accuracy"]
    return f"{right:.1f} % of the {part} images right; {losses} (best epoch {metrics['best_epoch']})"
