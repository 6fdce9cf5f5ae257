"""Recurrent networks as dynamical systems: back-propagation through time is the backward sweep.

the cells       `Elman`, `Leaky`, `GRU`, `LSTM`, `Diagonal`, `LowRank`, `Convolutional`, `Stack`, `Tape`; each makes a
                `Cell`, whose `system` goes into `rollout`, `sweep`, `linearize`
weights         `orthogonal`, `spectral`, `with_radius`, `time_constants` to start from; `Inside` to stay in
at scale        `Unroll`: a cell over batches of sequences in kept memory, float32 or float64, lengths, windows
networks        `Network`: an input (numbers, or `Embedding`), layers (cells, `Bidirectional`, `Dropout`), heads
                (`PerStep`, `AtEnd`); losses `softmax_cross_entropy`, `binary_cross_entropy`, `squared_error`; sequences
                of different lengths: `pad`, `within`
truncation      `truncation_bias`, `staggered`
training        `train` with `Adam` or `SGD`, clipping, schedules, early stopping; `threaded` losses; `save_weights`,
                `load_weights`
"""

from adjoint.recurrent.bidirectional import Bidirectional
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.convolutional import Convolutional
from adjoint.recurrent.diagonal import Diagonal
from adjoint.recurrent.dropout import Dropout
from adjoint.recurrent.elman import Elman
from adjoint.recurrent.gru import GRU
from adjoint.recurrent.heads import AtEnd, PerStep
from adjoint.recurrent.initialisation import (
    Inside,
    orthogonal,
    spectral,
    spectral_radius,
    time_constants,
    with_radius,
)
from adjoint.recurrent.inputs import Embedding
from adjoint.recurrent.leaky import Leaky
from adjoint.recurrent.losses import binary_cross_entropy, softmax_cross_entropy, squared_error, within
from adjoint.recurrent.low_rank import LowRank
from adjoint.recurrent.lstm import LSTM
from adjoint.recurrent.network import Network
from adjoint.recurrent.network_run import NetworkGradient, NetworkRun
from adjoint.recurrent.parallel import threaded
from adjoint.recurrent.paths import pad
from adjoint.recurrent.stack import Stack
from adjoint.recurrent.tape import Tape
from adjoint.recurrent.train import SGD, Adam, Training, cosine, train
from adjoint.recurrent.truncated import TruncationBias, staggered, truncation_bias
from adjoint.recurrent.unroll import Unroll, UnrollGradient
from adjoint.recurrent.weights import load_weights, save_weights

__all__ = [
    "GRU", "LSTM", "SGD", "Adam", "AtEnd", "Bidirectional", "Cell", "Convolutional", "Diagonal", "Dropout", "Elman",
    "Embedding", "Inside", "Leaky", "LowRank", "Network", "NetworkGradient", "NetworkRun", "PerStep", "Stack", "Tape",
    "Training", "TruncationBias", "Unroll", "UnrollGradient", "binary_cross_entropy", "cosine", "load_weights",
    "orthogonal", "pad", "save_weights", "softmax_cross_entropy", "spectral", "spectral_radius", "squared_error",
    "staggered", "threaded", "time_constants", "train", "truncation_bias", "with_radius", "within",
]  # fmt: skip
