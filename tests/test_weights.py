"""Weights on disk: they come back bit for bit, and a file that does not fit is refused with a sentence."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from adjoint.errors import InputError
from adjoint.recurrent import GRU, AtEnd, Elman, Embedding, Network, load_weights, save_weights

NETWORK = Network(Embedding(5, 3), [GRU(4, 3)], {"a": AtEnd(2)})


@pytest.mark.parametrize("owner", [NETWORK, GRU(4, 3), Elman(2, 0)], ids=["network", "cell", "no inputs"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_there_and_back(tmp_path, owner, dtype):
    p = owner.init(1).astype(dtype)
    save_weights(tmp_path / "weights", owner, p)
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    back = load_weights(tmp_path / "weights", owner)
    assert back.dtype == np.float64 and np.array_equal(back, p)


def test_anybody_can_read_the_file(tmp_path):
    file, p = tmp_path / "w.npz", NETWORK.init(1)
    save_weights(file, NETWORK, p)
    with np.load(file, allow_pickle=False) as stored:
        header = json.loads(stored["header"].tobytes())
        assert header["shapes"]["layer1.W_ih"] == [12, 3]
        assert np.array_equal(stored["part 1"], NETWORK.unpack(p)["layer1.W_ih"])


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (Network(Embedding(5, 3), [GRU(5, 3)], {"a": AtEnd(2)}), r"W_ih: \(12, 3\) in the file, \(15, 3\) wanted"),
        (Network(Embedding(5, 3), [GRU(4, 3)], {"b": AtEnd(2)}), "head.a.W: .* in the file, absent wanted"),
        (Network(3, [GRU(4, 3)], {"a": AtEnd(2)}), "embedding.table"),
        (GRU(4, 3), "W_ih: absent in the file"),
    ],
)  # fmt: skip
def test_weights_of_something_else(tmp_path, other, sentence):
    save_weights(tmp_path / "w.npz", NETWORK, NETWORK.init())
    with pytest.raises(InputError, match=f"does not fit.*{sentence}"):
        load_weights(tmp_path / "w.npz", other)


def test_the_order_of_the_heads_counts(tmp_path):
    a, b = (Network(3, [GRU(4, 3)], dict.fromkeys(names, AtEnd(2))) for names in ("xy", "yx"))
    save_weights(tmp_path / "w.npz", a, a.init())
    with pytest.raises(InputError, match="another order"):
        load_weights(tmp_path / "w.npz", b)


def test_files_that_are_no_weights(tmp_path):
    file = tmp_path / "w.npz"
    with pytest.raises(FileNotFoundError):
        load_weights(file, NETWORK)
    save_weights(file, NETWORK, NETWORK.init())
    whole = file.read_bytes()
    bad = {
        "text": b"weights", "empty": b"", "half": whole[: len(whole) // 2],
        "pickle": pickle.dumps({"p": [1.0]}),
        "spoiled": whole[:200] + bytes(8) + whole[208:],
    }  # fmt: skip
    for content in bad.values():
        file.write_bytes(content)
        with pytest.raises(InputError, match="holds no weights"):
            load_weights(file, NETWORK)
    with open(file, "wb") as stream:
        np.savez(stream, p=np.zeros(3))
    with pytest.raises(InputError, match="holds no weights"):
        load_weights(file, NETWORK)
    for change, sentence in (({"version": 2}, "version 2; this program reads"), ({"kind": "x"}, "holds 'x'")):
        header = {"kind": "adjoint weights", "version": 1, "shapes": {}} | change
        with open(file, "wb") as stream:
            np.savez(stream, header=np.frombuffer(json.dumps(header).encode(), np.uint8))
        with pytest.raises(InputError, match=sentence):
            load_weights(file, NETWORK)


def test_parts_that_are_not_what_the_header_says(tmp_path):
    file = tmp_path / "w.npz"
    save_weights(file, NETWORK, NETWORK.init())
    with np.load(file) as stored:
        arrays = dict(stored)
    with open(file, "wb") as stream:
        np.savez(stream, **(arrays | {"part 1": arrays["part 1"][1:]}))
    with pytest.raises(InputError, match="layer1.W_ih has shape"):
        load_weights(file, NETWORK)
    with open(file, "wb") as stream:
        np.savez(stream, **(arrays | {"part 1": np.full((12, 3), np.nan)}))
    with pytest.raises(InputError, match="not finite"):
        load_weights(file, NETWORK)


def test_weights_that_are_not_saved(tmp_path):
    file = tmp_path / "w.npz"
    for p, sentence in ((np.zeros(3), "p has shape"), (np.full(NETWORK.n_p, np.nan), "not finite"), (["a"], "type")):
        with pytest.raises(InputError, match=sentence):
            save_weights(file, NETWORK, p)
    assert not file.exists()
