"""What a check found, and how it is told."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "wrong", "kink"]

SHOWN = 5
"""Elements of a leaf that the text shows."""


@dataclass(frozen=True)
class Element:
    """One element's derivative, computed and measured; that of Σ u · f, u random, where f is more than one number.

    Attributes:
      index: where in its leaf.
      analytic: what the derivative rule gives (in :func:`compare_gradients`, the manual formula).
      numerical: what differences of function values give; at a kink the midpoint of ``between``.
      verdict: on this element alone.
      mode: "reverse", "forward" or "manual"; "reverse in float32" where it is wrong in the caller's type alone.
      between: at a kink, the lowest and the highest value that are accepted.
    """

    index: tuple[int, ...]
    analytic: float
    numerical: float
    verdict: Verdict
    mode: str
    between: tuple[float, float] | None = None

    @property
    def absolute_error(self) -> float:
        """|analytic − numerical|."""
        return abs(self.analytic - self.numerical)

    @property
    def relative_error(self) -> float:
        """|analytic − numerical| / max(|analytic|, |numerical|); 0 where both are 0."""
        size = max(abs(self.analytic), abs(self.numerical))
        if not math.isfinite(self.absolute_error):
            return math.inf
        return self.absolute_error / size if size else 0.0

    def __str__(self) -> str:
        """One line of numbers."""
        index = "[" + ", ".join(map(str, self.index)) + "]"
        numbers = f"{self.mode} {self.analytic:.9g}, numerical {self.numerical:.9g}"
        if self.between is not None:
            return (
                f"{index}  {self.mode} {self.analytic:.9g}, one-sided {self.between[0]:.6g} and {self.between[1]:.6g}"
            )
        if not math.isfinite(self.absolute_error):
            return f"{index}  {numbers}"
        return f"{index}  {numbers}, off by {self.absolute_error:.2g} ({100 * self.relative_error:.2g} %)"


@dataclass(frozen=True)
class LeafEntry:
    """One floating point leaf of the arguments.

    Attributes:
      leaf: the parameter's name and the way to the leaf in it, such as ``params['kernel']``.
      order: 1 for the gradient, 2 for the gradient's gradient.
      verdict: "wrong" if any element is; "kink" if none is and the function has a kink there; else "ok".
      worst: the elements that were looked at one by one, the worst first.
      resolution: the relative error of one typical element that would still have been seen.
      reason: what is wrong, in words, where it is more than a number.
    """

    leaf: str
    shape: tuple[int, ...]
    order: int
    verdict: Verdict
    worst: tuple[Element, ...] = ()
    resolution: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        """The verdict, and below it the elements if there is something to see."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        of = "" if self.order == 1 else " (second derivative)"
        yield f"{self.verdict:<5} {self.leaf} {self.shape}{of}" + (f": {self.reason}" if self.reason else "")
        if self.verdict == "ok":
            return
        for element in [e for e in self.worst if e.verdict == self.verdict][:SHOWN]:
            yield f"        {element}"


@dataclass(frozen=True)
class GradientReport:
    """The result of a check.

    Attributes:
      entries: one a floating point leaf and order.
      seed: what all random numbers came from; the same seed repeats the check.
      evaluated_in: the type in which function values were taken.
      notes: what limits the check, a sentence each.
    """

    entries: tuple[LeafEntry, ...]
    seed: int
    evaluated_in: str
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; a kink is not."""
        return all(entry.verdict != "wrong" for entry in self.entries)

    @property
    def wrong(self) -> tuple[LeafEntry, ...]:
        """The entries that are wrong."""
        return tuple(entry for entry in self.entries if entry.verdict == "wrong")

    def __str__(self) -> str:
        """A short text: what is wrong first, then kinks, the rest, and what the check was limited by."""
        head = "gradients agree" if self.ok else f"{len(self.wrong)} of {len(self.entries)} gradients are wrong"
        order = {"wrong": 0, "kink": 1, "ok": 2}
        entries = sorted(self.entries, key=lambda entry: order[entry.verdict])
        return "\n".join(
            [
                f"{head} (values in {self.evaluated_in}, seed={self.seed})",
                *(f"  {line}" for entry in entries for line in str(entry).splitlines()),
                *(f"  note: {note}" for note in self.notes),
            ]
        )
