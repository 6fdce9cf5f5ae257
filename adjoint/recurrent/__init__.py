"""Recurrent networks as dynamical systems: back-propagation through time is the backward sweep.

the cells       `Elman`, `GRU`, `LSTM`, `Diagonal`, `LowRank`: each a `Cell`, whose `system` goes into `rollout`
at scale        `Unroll`: a cell over batches of sequences in kept memory, float32 or float64, lengths, windows
truncation      `truncation_bias`, `staggered`
"""

from adjoint.recurrent.cell import Cell
from adjoint.recurrent.diagonal import Diagonal
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.gru import GRU
from adjoint.recurrent.low_rank import LowRank
from adjoint.recurrent.lstm import LSTM
from adjoint.recurrent.truncated import TruncationBias, staggered, truncation_bias
from adjoint.recurrent.unroll import Unroll, UnrollGradient

__all__ = [
    "GRU", "LSTM", "Cell", "Diagonal", "Elman", "LowRank", "TruncationBias", "Unroll", "UnrollGradient", "staggered",
    "truncation_bias",
]  # fmt: skip
