"""Turning gradients into a step."""

import math
import warnings


class Used(float):
    """A gradient that a step has followed. Added to or scaled, it is still one."""

    def __add__(self, other):
        return Used(float(self) + other)

    def __mul__(self, other):
        return Used(float(self) * other)

    def __truediv__(self, other):
        return Used(float(self) / other)

    __rmul__ = __mul__


class SGD:
    """Stochastic gradient descent with momentum, p <- p - lr * v with v <- momentum * v + grad.

    The arguments mean what they mean to torch.optim.SGD. A negative or non-finite lr or
    momentum, no parameters at all, one twice, or one that was computed is a ValueError.
    """

    def __init__(self, params, lr=1e-3, momentum=0.0):
        self.params = list(params)
        if not self.params:
            raise ValueError("SGD was given no parameters")
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("SGD was given the same parameter twice")
        if any(p.parents for p in self.params):
            raise ValueError("SGD moves leaves, and was given a node that was computed")
        for name, value in (("lr", lr), ("momentum", momentum)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number >= 0, not {value!r}")
        self.lr, self.momentum = lr, momentum
        self.velocity = [0.0] * len(self.params)

    def zero_grad(self):
        """Set the gradient of every parameter to 0."""
        for p in self.params:
            p.grad = 0.0

    def step(self):
        """Move every parameter along its gradient, and warn if that gradient was used before."""
        if any(type(p.grad) is Used for p in self.params):
            warnings.warn(
                "step() follows gradients that an earlier step() has already followed: "
                "call zero_grad() before backward()",
                stacklevel=2,
            )
        for i, p in enumerate(self.params):
            v = self.velocity[i] = self.momentum * self.velocity[i] + p.grad
            p.data = p.data - self.lr * v
            p.grad = Used(p.grad)
