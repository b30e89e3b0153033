"""What several test files compare with: NumPy, numbers within a tolerance, central differences."""

import numpy as np

import gradengine as ge


def same(found, expected):
    """Values, shape and dtype of a tensor (or of nested ones) are NumPy's."""
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            same(f, e)
        return
    assert isinstance(found, ge.Tensor)
    assert found.shape == np.shape(expected)
    assert found.dtype == np.asarray(expected).dtype
    assert np.allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12, equal_nan=True)


def close(a, b, tolerance=1e-12):
    np.testing.assert_allclose(
        np.asarray(getattr(a, "array", a)), b, rtol=tolerance, atol=tolerance
    )


def central(f, x, h=1e-6):
    """df/dx of a function of one array, by central differences; shape (*f(x).shape, *x.shape)."""
    x = np.asarray(x, dtype=float)
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        up, down = (f(ge.tensor(x + s * step.reshape(x.shape))).numpy() for s in (1, -1))
        columns.append((up - down) / (2 * h))
    y = f(ge.tensor(x)).numpy()
    return np.stack(columns, axis=-1).reshape(*y.shape, *x.shape)
