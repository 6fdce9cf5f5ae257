"""Systems inside other libraries' models: `adjoint.bridges.torch` and `adjoint.bridges.jax`.

Each is an optional extra and imported by its name; ``import adjoint`` loads neither. The derivative that a bridge hands
over is the library's own sweep:

    forward             x = rollout(z),  z = (x_0, u, p)
    backward            z̄ = sweep(x̄) = Jᵀ x̄                                   J = ∂x/∂z
    backward, twice     of ⟨v, Jᵀ x̄⟩:  x̿ = J v = tangent(v),  z̿ = ∇²⟨x̄, x(z)⟩ v = hessian_vector(x̄, v)
"""
