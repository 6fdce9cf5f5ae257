"""First-order training: stochastic gradient descent and Adam over mini-batches.

    g_j       gradient of the loss on batch j, shortened to the length `clip` where it is longer
    SGD       v ← μ v + g,   p ← p - r v
    Adam      a ← β₁ a + (1 - β₁) g,   b ← β₂ b + (1 - β₂) g²,   p ← p - r â / (sqrt b̂ + ε)

with â = a / (1 - β₁^j), b̂ = b / (1 - β₂^j); D. P. Kingma and J. Ba, Adam, ICLR 2015, algorithm 1. The rate r may
change with the step (`schedule`). Clipping by norm: R. Pascanu et al., On the difficulty of training recurrent neural
networks, ICML 2013, algorithm 1. For few parameters and exact gradients `scipy.optimize.minimize(…, jac=True)` takes
the same function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import AdjointError, InputError
from adjoint.recurrent.cell import size
from adjoint.recurrent.watch import watching

__all__ = ["SGD", "Adam", "Training", "cosine", "train"]

Array = NDArray[np.float64]
State = tuple[Array, ...]
Loss = Callable[[Array, NDArray[np.int64]], tuple[float, ArrayLike]]


def _within(what: str, **numbers: tuple[float, float]) -> None:
    """Refuse numbers that are not in [0, their bound)."""
    for name, (value, bound) in numbers.items():
        if not 0 <= value < bound:
            raise InputError(f"{what}: {name} is {value!r}; expected a number from 0 to less than {bound:g}.")


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum: `rate` r and `momentum` μ."""

    rate: float = 1e-2
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _within("SGD", rate=(self.rate, math.inf), momentum=(self.momentum, 1.0))

    def start(self, p: Array) -> State:
        """What is remembered between steps, before the first."""
        return (np.zeros_like(p),)

    def step(self, p: Array, g: Array, state: State, j: int, rate: float) -> tuple[Array, State]:
        """The next p and state after step j, counted from 1."""
        v = self.momentum * state[0] + g
        return p - rate * v, (v,)


@dataclass(frozen=True)
class Adam:
    """Adam with `rate` r, `beta1` β₁, `beta2` β₂ and `epsilon` ε."""

    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _within("Adam", rate=(self.rate, math.inf), beta1=(self.beta1, 1.0), beta2=(self.beta2, 1.0),
                epsilon=(self.epsilon, math.inf))  # fmt: skip

    def start(self, p: Array) -> State:
        """What is remembered between steps, before the first."""
        return np.zeros_like(p), np.zeros_like(p)

    def step(self, p: Array, g: Array, state: State, j: int, rate: float) -> tuple[Array, State]:
        """The next p and state after step j, counted from 1."""
        a = self.beta1 * state[0] + (1 - self.beta1) * g
        b = self.beta2 * state[1] + (1 - self.beta2) * g * g
        a_hat, b_hat = a / (1 - self.beta1**j), b / (1 - self.beta2**j)
        return p - rate * a_hat / (np.sqrt(b_hat) + self.epsilon), (a, b)


def cosine(steps: int, warmup: int = 0) -> Callable[[int], float]:
    """A schedule: the factor of the rate rises linearly over `warmup` steps and falls to 0 at `steps` as a cosine."""

    def factor(j: int) -> float:
        if j < warmup:
            return (j + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (j - warmup) / max(1, steps - warmup))))

    return factor


@dataclass(frozen=True, eq=False)
class Training:
    """What training led to.

    Attributes
    ----------
    p : array
        The best weights, always finite: those of the least validation loss or, where there is no validation, of the
        least mean loss over an epoch, taken at the end of that epoch; those of the start if nothing was better.
    loss, gradient_norm : array (steps,)
        Of each mini-batch, the norm before clipping.
    validation : array (epochs,)
        Empty without validation.
    message : str
        How it ended.
    """

    p: Array
    loss: Array
    gradient_norm: Array
    validation: Array
    message: str


def train(
    loss: Loss,
    p: ArrayLike,
    samples: int,
    *,
    optimiser: SGD | Adam = Adam(),
    batch: int = 32,
    epochs: int = 10,
    clip: float | None = None,
    schedule: Callable[[int], float] | None = None,
    validation: Callable[[Array], float] | None = None,
    patience: int | None = None,
    seed: int = 0,
    callback: Callable[[int, float], None] | None = None,
    progress: bool = True,
) -> Training:
    """Minimise a mean over samples by mini-batches.

    Parameters
    ----------
    loss : callable
        ``loss(p, index) -> (J, ∂J/∂p)`` of the samples with these indices.
    p : array_like (n_p,)
        Where to start.
    samples : int
        How many there are; each epoch goes through all of them in a new random order.
    optimiser : SGD or Adam
    batch, epochs : int
    clip : float, optional
        The longest gradient that is taken as it is.
    schedule : callable, optional
        From the number of steps taken so far to the factor of the rate: `cosine`.
    validation : callable, optional
        ``validation(p)``, a number that should be small; asked after each epoch.
    patience : int, optional
        Stop after so many epochs without a new best validation.
    seed : int
        Of the random order: the same seed gives the same bits.
    callback : callable
        ``callback(epoch, mean loss)`` after each epoch.
    progress : bool
        Whether a bar is shown on a terminal, and a line about every ten seconds elsewhere.

    Returns
    -------
    Training
        Ctrl-C, numbers that are not finite and an `AdjointError` of the loss (states that became infinite) end it
        early, with the best weights so far and a sentence. An epoch that was begun counts like a whole one.

    Raises
    ------
    InputError
        If an argument does not fit.
    """
    samples, batch, epochs = size("samples", samples), size("batch", batch), size("epochs", epochs)
    weights = np.array(p, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all():
        raise InputError(f"p has shape {weights.shape}; expected a vector of finite numbers.")
    if clip is not None and not clip > 0:
        raise InputError(f"clip is {clip!r}; expected a positive length, or None.")
    if patience is not None and validation is None:
        raise InputError("patience waits for a better validation; pass validation= too.")
    if not isinstance(optimiser, SGD | Adam):
        raise InputError(f"optimiser is {optimiser!r}; expected SGD(...) or Adam(...).")
    order, start = np.random.default_rng(seed), weights
    best = _Best(weights)
    state = optimiser.start(weights)
    steps: list[tuple[float, float]] = []  # loss and norm of the gradient
    checks: list[float] = []
    steps_an_epoch = -(-samples // batch)
    message = f"{epochs} epochs of {steps_an_epoch} steps."
    epoch = first = 0
    last, low = weights, (math.inf, weights)  # the last weights with a finite loss; the best ones of this epoch
    least = math.inf  # mean loss of an epoch
    asked: tuple[Any, ...] = ()  # what was called last with weights, and with what else
    try:
        with watching(epochs * steps_an_epoch, progress) as show:
            for epoch in range(epochs):
                shuffled, first, low = order.permutation(samples), len(steps), (math.inf, weights)
                for at in range(0, samples, batch):
                    asked = loss, shuffled[at : at + batch]
                    value, gradient = loss(weights, asked[1])
                    g = np.array(gradient, dtype=np.float64)
                    if g.shape != weights.shape:
                        raise InputError(f"the gradient has shape {g.shape}; p has shape {weights.shape}.")
                    norm = float(np.linalg.norm(g))
                    _finite("the loss", value)
                    _finite("the norm of the gradient", norm)
                    last, low = weights, min(low, (float(value), weights), key=lambda pair: pair[0])
                    steps.append((float(value), norm))
                    if clip is not None and norm > clip:
                        g *= clip / norm
                    rate = optimiser.rate * (1.0 if schedule is None else schedule(len(steps) - 1))
                    weights, state = optimiser.step(weights, g, state, len(steps), rate)
                    _finite("the largest weight", float(np.max(np.abs(weights), initial=0.0)))
                    show(len(steps), epoch, steps[-1][0], checks[-1] if checks else math.nan)
                last = weights
                mean = _mean(steps[first:])
                least, asked = min(least, mean), ()
                if callback is not None:
                    callback(epoch, mean)
                if validation is None:
                    best.offer(weights, mean)
                    continue
                asked = (validation,)
                check = float(validation(weights))
                _finite("the validation", check)
                checks.append(check)
                if not best.offer(weights, check) and patience is not None and best.waited >= patience:
                    message = f"stopped after epoch {epoch}: the validation has not fallen for {patience} epochs."
                    break
    except KeyboardInterrupt:
        message = f"interrupted at step {len(steps)}; these are the best weights so far."
    except AdjointError as error:
        if isinstance(error, InputError) and (not steps or not _fits(start, *asked)):
            raise
        message = f"stopped at step {len(steps)} of epoch {epoch}: {error} Take a smaller rate, or clip."
        last = low[1]  # it was on its way to infinity: not the last ones
    if len(steps) > first and (validation is None or not checks):
        best.offer(last, _mean(steps[first:]))
    if steps and steps[0][0] < min(least, low[0] if best.p is low[1] else math.inf):  # it never went down
        begin = steps[0][0] if validation is None else float(validation(start))
        if begin < best.score < math.inf:
            best.offer(start, begin)
            message += f" No epoch was better than the start, {begin:.4g}. Take a smaller rate."
    losses, norms = np.array(steps).reshape(-1, 2).T
    return Training(best.p, losses.copy(), norms.copy(), np.array(checks), message)


def _fits(p: Array, function: Callable[..., Any] | None = None, *rest: Any) -> bool:
    """Whether what was asked last works with the first weights: then it is the weights that have become too large."""
    if function is None:
        return False
    try:
        function(p, *rest)
    except InputError:
        return False
    return True


class _Best:
    """The weights of the least score so far, and for how many offers they have been it."""

    def __init__(self, p: Array) -> None:
        self.p, self.score, self.waited = p, math.inf, 0

    def offer(self, p: Array, score: float) -> bool:
        """Take p if its score is the least."""
        if score < self.score:
            self.p, self.score, self.waited = p, score, 0
            return True
        self.waited += 1
        return False


def _mean(steps: list[tuple[float, float]]) -> float:
    return float(np.mean([value for value, _ in steps]))


def _finite(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise AdjointError(f"{what} is {value}.")
