"""Recurrent networks as dynamical systems: back-propagation through time is the backward sweep.

the cells       `Elman`, `Leaky`, `GRU`, `LSTM`, `Diagonal`, `LowRank`, `Convolutional`, `Stack`; each makes a `Cell`,
                whose `system` goes into `rollout`, `sweep`, `linearize`
weights         `orthogonal`, `spectral`, `with_radius`, `time_constants` to start from; `Inside` to stay in
at scale        `Unroll`: a cell over batches of sequences in kept memory, float32 or float64, lengths, windows
truncation      `truncation_bias`, `staggered`
training        `train` with `Adam` or `SGD`, clipping, schedules, early stopping; `threaded` losses
"""

from adjoint.recurrent.cell import Cell
from adjoint.recurrent.convolutional import Convolutional
from adjoint.recurrent.diagonal import Diagonal
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.gru import GRU
from adjoint.recurrent.initialisation import (
    Inside,
    orthogonal,
    spectral,
    spectral_radius,
    time_constants,
    with_radius,
)
from adjoint.recurrent.leaky import Leaky
from adjoint.recurrent.low_rank import LowRank
from adjoint.recurrent.lstm import LSTM
from adjoint.recurrent.parallel import threaded
from adjoint.recurrent.stack import Stack
from adjoint.recurrent.train import SGD, Adam, Training, cosine, train
from adjoint.recurrent.truncated import TruncationBias, staggered, truncation_bias
from adjoint.recurrent.unroll import Unroll, UnrollGradient

__all__ = [
    "GRU", "LSTM", "SGD", "Adam", "Cell", "Convolutional", "Diagonal", "Elman", "Inside", "Leaky", "LowRank",
    "Stack", "Training", "TruncationBias", "Unroll", "UnrollGradient", "cosine", "orthogonal", "spectral",
    "spectral_radius", "staggered", "threaded", "time_constants", "train", "truncation_bias", "with_radius",
]  # fmt: skip
