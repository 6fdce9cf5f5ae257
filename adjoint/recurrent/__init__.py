"""Recurrent networks as dynamical systems: back-propagation through time is the backward sweep.

the cells       `Elman`, `GRU`, `LSTM`, `Diagonal`, `LowRank`, `Convolutional`, `Stack`, `Tape`; each makes a `Cell`,
                whose `system` goes into `rollout`, `sweep`, `linearize`
at scale        `Unroll`: a cell over batches of sequences in kept memory, float32 or float64, lengths, windows
truncation      `truncation_bias`, `staggered`
training        `train` with `Adam` or `SGD`, clipping, schedules, early stopping
"""

from adjoint.recurrent.cell import Cell
from adjoint.recurrent.convolutional import Convolutional
from adjoint.recurrent.diagonal import Diagonal
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.gru import GRU
from adjoint.recurrent.low_rank import LowRank
from adjoint.recurrent.lstm import LSTM
from adjoint.recurrent.stack import Stack
from adjoint.recurrent.tape import Tape
from adjoint.recurrent.train import SGD, Adam, Training, cosine, train
from adjoint.recurrent.truncated import TruncationBias, staggered, truncation_bias
from adjoint.recurrent.unroll import Unroll, UnrollGradient

__all__ = [
    "GRU", "LSTM", "SGD", "Adam", "Cell", "Convolutional", "Diagonal", "Elman", "LowRank", "Stack", "Tape", "Training",
    "TruncationBias", "Unroll", "UnrollGradient", "cosine", "staggered", "train", "truncation_bias",
]  # fmt: skip
