"""Systems inside other libraries' models: `adjoint.bridges.torch` and `adjoint.bridges.jax`.

Each is an optional extra and imported by its name; ``import adjoint`` loads neither. The derivative that a bridge hands
over is the library's own sweep:

    forward             x = rollout(z),  z = (x_0, u, p)
    backward            z̄ = sweep(x̄) = Jᵀ x̄                                   J = ∂x/∂z
    backward, twice     of ⟨v, Jᵀ x̄⟩:  x̿ = J v = tangent(v),  z̿ = ∇²⟨x̄, x(z)⟩ v = hessian_vector(x̄, v)

Executors (`concurrent.futures`, or the client of dask) need no bridge. A `System` can be pickled, and travels as its
function or as its graph; trajectories and gradients are arrays; the kernels release Python's lock, so that threads do.

>>> import numpy as np
>>> from concurrent.futures import ThreadPoolExecutor
>>> from adjoint import System, rollout, sweep
>>> system = System(lambda t, x, u, p: [-p[0] * x[0]], states="x", parameters="rate")
>>> def gradient(rate):
...     path = rollout(system, [1.0], t=np.linspace(0, 1, 21), p=[rate])
...     return sweep(path, dx=[1.0]).p[0]
>>> with ThreadPoolExecutor() as executor:
...     gradients = list(executor.map(gradient, [0.5, 1.0, 2.0]))
>>> bool(np.allclose(gradients, -np.exp([-0.5, -1.0, -2.0])))
True
"""
